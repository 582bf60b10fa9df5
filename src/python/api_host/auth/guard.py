"""Finds out who asks, by a key or a token, and whether they may."""

from functools import lru_cache
from typing import TYPE_CHECKING

import httpx
import structlog

from api_host.auth.caller import Access, Caller
from api_host.auth.errors import BadTokenError, ExpiredTokenError
from api_host.auth.keys import PREFIX, TEXT
from api_host.auth.known import KnownKeys
from api_host.auth.needs import Need, Open
from api_host.auth.refusals import Reason, no_access, no_model, refused
from api_host.settings import ApiSettings

if TYPE_CHECKING:
    from api_host.auth.key_set import KeySet
    from api_host.auth.tokens import Tokens

NO_KEYS = "callers must show a key, and there is none yet"

NOWHERE = "unknown"
"""Stands for the address of a client that has none."""

_log = structlog.get_logger("api_host.auth")

_EVERYTHING = frozenset(Access)


class Guard:
    """Who may do what on this host.

    `is_on`: whether a key or a token is asked for at all.
    `keys`: those of the file.
    `key_set`: the keys that tokens are signed with, where they are public ones.
    """

    def __init__(self, settings: ApiSettings, client: httpx.AsyncClient) -> None:
        self.is_on = settings.auth
        self._is_reachable = settings.is_reachable
        self.keys = KnownKeys(settings.api_keys_file)
        self.key_set: KeySet | None = None
        self._tokens: Tokens | None = None
        self._stranger = lru_cache(1000)(self._new_stranger)
        issuer, audience = settings.api_jwt_issuer, settings.api_jwt_audience
        if issuer is not None and audience is not None:
            self._accept_tokens(settings, client, issuer, audience)

    def start(self) -> None:
        """Reads the keys, and says in the log who may ask."""
        if self.is_on:
            self.keys.look()
        log = _log.warning if self._is_worth_a_warning else _log.info
        log("auth", on=self.is_on, detail=self._sentence())

    @property
    def is_without_callers(self) -> bool:
        """Whether everybody is refused, as there is neither a key nor a way to check tokens."""
        return self.is_on and self._tokens is None and not self.keys.all

    async def run(self) -> None:
        """Keeps what tokens are checked with fresh, for ever."""
        if self.is_on and self.key_set is not None:
            await self.key_set.run()

    @property
    def problems(self) -> list[str]:
        """What keeps callers out who should be let in, a sentence each."""
        found = (self.keys.problem, self.key_set and self.key_set.problem)
        return [problem for problem in found if problem] if self.is_on else []

    @property
    def _is_worth_a_warning(self) -> bool:
        return self.is_without_callers or (not self.is_on and self._is_reachable)

    def _sentence(self) -> str:
        if self.is_without_callers:
            return f"nobody can ask: run 'api-host keys add NAME' ({NO_KEYS})"
        if self.is_on:
            tokens = "" if self._tokens is None else ", and bearer tokens are accepted"
            return f"callers show a key, of which there are {len(self.keys.all)}{tokens}"
        if self._is_reachable:
            return "API_AUTH is no: everybody who reaches this host may do everything"
        return "off, as only this machine reaches this host: everybody here may do everything"

    def stranger(self, address: str) -> Caller:
        """Whoever asks from an address and shows nothing: where nothing is asked for, they may."""
        return self._stranger(address)

    def known(self, shown: str) -> Caller | None:
        """Who shows a key, or a token that was checked before; None: `check` finds out."""
        if shown.startswith(PREFIX):
            return self.keys.find(shown)
        return None if self._tokens is None else self._tokens.find(shown)

    async def check(self, shown: str | None) -> Caller:
        """Who shows this. Raises `Problem`."""
        if shown is None:
            raise refused(Reason.NOTHING_SHOWN, "this host answers nobody whom it does not know")
        if TEXT.fullmatch(shown):
            caller = self.keys.find(shown)
            if caller is not None:
                return caller
            if self.keys.has_expired(shown):
                raise refused(Reason.EXPIRED, "this key has expired")
            raise refused(Reason.UNKNOWN_KEY, "this key is unknown here, or was revoked")
        if self._tokens is None or shown.count(".") != 2:  # noqa: PLR2004 (header.claims.signature)
            raise refused(Reason.UNKNOWN_KEY, "this is no key of this host")
        try:
            return await self._tokens.check(shown)
        except ExpiredTokenError:
            raise refused(Reason.EXPIRED, "the token has expired") from None
        except BadTokenError as error:
            raise refused(Reason.BAD_TOKEN, f"the token is not accepted, as {error}") from None

    def allow(self, caller: Caller, need: Need, model: str | None = None) -> None:
        """Returns if a caller may do what needs that. Raises `Problem`."""
        if not isinstance(need, Open) and need not in caller.access:
            raise no_access(need)
        if model is not None and not caller.may_ask(model):
            raise no_model(model)

    def _accept_tokens(
        self, settings: ApiSettings, client: httpx.AsyncClient, issuer: str, audience: str
    ) -> None:
        # Imported here: most hosts do without, and it takes memory.
        from api_host.auth.key_set import KeySet  # noqa: PLC0415
        from api_host.auth.tokens import Tokens  # noqa: PLC0415

        if settings.api_jwks is not None:
            self.key_set = KeySet(settings.api_jwks, client, settings.api_jwks_seconds)
        secret = settings.api_jwt_secret
        text = secret.get_secret_value() if secret else ""
        self._tokens = Tokens(issuer, audience, self.key_set, text)

    def _new_stranger(self, address: str) -> Caller:
        return Caller(f"address:{address}", frozenset() if self.is_on else _EVERYTHING)
