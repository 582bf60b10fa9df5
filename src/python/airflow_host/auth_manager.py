"""FAB's auth manager, but for one rule: who may start runs of a DAG need not be able to change it.

FAB lets only those start a run who may edit the DAG as well, and so pause it. The account of the
API server starts trainings, and has no use for more.
"""

from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
from airflow.providers.fab.auth_manager.models import User
from airflow.providers.fab.www.security.permissions import RESOURCE_DAG_RUN, resource_name


class TripodFabAuthManager(FabAuthManager):
    """Found by Airflow, which keeps the permissions of DAGs if the name holds `FabAuthManager`."""

    def is_authorized_dag(
        self,
        *,
        method: ResourceMethod,
        user: User,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Whether the user may do this with a DAG, or with what belongs to it."""
        if method == "POST" and access_entity is DagAccessEntity.RUN and details and details.id:
            runs = resource_name(details.id, RESOURCE_DAG_RUN)
            if self._is_authorized(method="POST", resource_type=runs, user=user):
                return self._is_authorized_dag(method="GET", details=details, user=user)
        return super().is_authorized_dag(
            method=method, user=user, access_entity=access_entity, details=details
        )
