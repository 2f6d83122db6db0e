"""Values that record when they are finalised."""


class Value:
    """Tells `log` its name when it is finalised, after calling `hook`."""

    def __init__(self, log, hook=None, name="value"):
        self.log, self.hook, self.name = log, hook, name

    def __del__(self):
        try:
            if self.hook:
                self.hook()
        finally:
            self.log.append(self.name)
