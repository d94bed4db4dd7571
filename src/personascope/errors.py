"""The errors a user can cause or meet. Each message is one plain sentence that says what to do."""


class PersonascopeError(Exception):
    """Something failed that the user should hear about in one sentence. Exit code 1."""


class UserError(PersonascopeError, ValueError):
    """The request cannot be carried out as it stands; the message says what to change. Exit code 2."""


class NonFinite(PersonascopeError, ArithmeticError):
    """NaN or infinity where a number should be; the message names the layer and the text. Exit code 1."""
