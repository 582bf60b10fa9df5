"""Small programs that stand where a PEX would: Python files that the harness runs like one."""

from pathlib import Path

from dev_hosts.process import Health, HostProcess, Program

UNREACHABLE = Health("http://127.0.0.1:1/health")


def run(folder: Path, code: str, *, health: Health = UNREACHABLE) -> HostProcess:
    """Starts a program whose code is given; it logs to `program.log` in the folder."""
    script = folder / "program.py"
    script.write_text(code)
    return HostProcess(Program("program", script, (), {}, folder / "program.log", health))
