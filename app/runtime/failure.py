"""The one error of the runtime: something of this machine is not as the servers need it."""


class RuntimeFailure(Exception):
    """A server or process could not be started; the message says what to mend."""
