"""Subclasses of local: descriptors, slots, overrides, several bases; under every key, to each unit its own."""

import contextlib
import threading

import pytest

import xctx
from xctx import keys


@pytest.fixture
def base(key):
    """local with this key, for deriving."""
    return type("Base", (xctx.local,), {}, key=key)


@pytest.fixture
def elsewhere(key_name, in_fresh_thread):
    """elsewhere(func): runs it in another unit, whatever the key but `process`, which has only one."""
    if key_name == "process":
        pytest.skip("no other unit in this process")
    return in_fresh_thread


def test_class_attributes_are_defaults(base, elsewhere):
    class Defaults(base):
        a = 1
        b: list = []

    made = Defaults()
    assert made.a == 1
    made.a = 2
    assert (made.a, Defaults.a) == (2, 1)
    assert elsewhere(lambda: made.a) == 1
    del made.a
    assert made.a == 1
    with pytest.raises(AttributeError):
        del made.a
    assert made.__dict__ == {}
    assert made.b is Defaults.b
    Defaults.c = 3
    assert made.c == 3
    assert getattr(made, "".join("ab"[:1])) == 1


def test_methods_and_class_methods(base, elsewhere):
    class Methods(base):
        def put(self, value):
            self.value = value
            return self

        def get(self):
            return self.value

        @classmethod
        def of_class(cls):
            return cls

        @staticmethod
        def static():
            return "static"

    made = Methods().put(1)
    assert made.get() == 1
    assert elsewhere(lambda: made.put(2).get()) == 2
    assert made.get() == 1
    assert made.of_class() is Methods
    assert made.static() == "static"
    made.get = lambda: "own"  # shadows: a function is a non-data descriptor
    assert made.get() == "own"
    assert elsewhere(lambda: made.put(3).get()) == 3


def test_properties(base, elsewhere):
    class Properties(base):
        @property
        def doubled(self):
            return self.number * 2

        @doubled.setter
        def doubled(self, value):
            self.number = value // 2

        @doubled.deleter
        def doubled(self):
            del self.number

        read_only = property(lambda self: "read")

        @property
        def failing(self):
            return self.no_such_name

    made = Properties()
    made.doubled = 10
    assert (made.number, made.doubled) == (5, 10)
    assert made.__dict__ == {"number": 5}
    assert not elsewhere(lambda: hasattr(made, "doubled"))
    made.__dict__["doubled"] = "hidden"
    assert made.doubled == 10
    del made.doubled
    assert not hasattr(made, "number") and not hasattr(made, "doubled")
    assert made.read_only == "read"
    with pytest.raises(AttributeError):
        made.read_only = 1
    with pytest.raises(AttributeError):
        del made.read_only
    with pytest.raises(AttributeError, match="no_such_name"):
        made.failing


class Told:
    """A descriptor that tells what it was asked."""

    def __get__(self, owner, cls):
        return ("get", owner, cls)


class ToldAll(Told):
    def __set__(self, owner, value):
        owner.__dict__["told"] = ("set", value)

    def __delete__(self, owner):
        owner.__dict__["told"] = ("delete",)


class OnlySet:
    def __set__(self, owner, value):
        owner.__dict__["told"] = ("only set", value)


class Refusing:
    def __get__(self, owner, cls):
        raise ZeroDivisionError

    __set__ = __get__

    def __delete__(self, owner):
        raise ZeroDivisionError


def test_descriptors(base):
    class Described(base):
        weak = Told()
        strong = ToldAll()
        only_set = OnlySet()
        refusing = Refusing()

    made = Described()
    assert made.weak == ("get", made, Described)
    made.weak = 1  # a non-data descriptor gives way
    assert made.weak == 1
    del made.weak
    assert made.weak == ("get", made, Described)

    made.strong = 1
    assert made.told == ("set", 1)
    made.__dict__["strong"] = "hidden"
    assert made.strong == ("get", made, Described)
    del made.strong
    assert made.told == ("delete",)

    assert made.only_set is Described.__dict__["only_set"]
    made.only_set = 2
    assert made.told == ("only set", 2)
    made.__dict__["only_set"] = "own"
    assert made.only_set == "own"
    with pytest.raises(AttributeError):
        del made.only_set

    for action in (
        lambda: made.refusing,
        lambda: setattr(made, "refusing", 1),
        lambda: delattr(made, "refusing"),
        lambda: hasattr(made, "refusing"),
    ):
        with pytest.raises(ZeroDivisionError):
            action()


def test_names_that_the_class_sets_dynamically(base):
    """A descriptor put in or taken out later counts from then on, also where the look-up has been made before."""

    class Late(base):
        pass

    made = Late()
    made.a = 1
    assert made.a == 1
    Late.a = property(lambda self: "property")
    assert made.a == "property"
    del Late.a
    assert made.a == 1


def test_slots_are_shared_by_all_units(base, elsewhere):
    class Slotted(base):
        __slots__ = ("other", "shared")

    made = Slotted()
    with pytest.raises(AttributeError):
        made.shared
    made.shared = 1
    made.own = 2

    def there():
        seen = made.shared, hasattr(made, "own")
        made.shared = 3
        return seen

    assert elsewhere(there) == (1, False)
    assert (made.shared, made.own) == (3, 2)
    assert made.__dict__ == {"own": 2}
    elsewhere(lambda: delattr(made, "shared"))
    assert not hasattr(made, "shared")


def test_getattr_override(base, elsewhere):
    class Asked(base):
        known = "class"

        def __getattr__(self, name):
            if name == "failing":
                raise AttributeError("told so")
            return f"made up: {name}"

    made = Asked()
    assert made.a == "made up: a"
    made.a = 1
    assert made.a == 1
    assert made.known == "class"
    assert elsewhere(lambda: made.a) == "made up: a"
    with pytest.raises(AttributeError, match="told so"):
        made.failing


def test_getattribute_override(base, elsewhere):
    class Asked(base):
        def __getattribute__(self, name):
            if name.startswith("double_"):
                return super().__getattribute__(name[7:]) * 2
            return super().__getattribute__(name)

    made = Asked()
    made.a = 2
    assert (made.a, made.double_a) == (2, 4)
    with pytest.raises(AttributeError, match=r"^'Asked' object has no attribute 'b'$"):
        made.double_b
    assert elsewhere(lambda: getattr(made, "double_a", None)) is None
    assert made.__dict__ == {"a": 2}


def test_both_overrides(base):
    class Asked(base):
        def __getattribute__(self, name):
            return super().__getattribute__(name)

        def __getattr__(self, name):
            return super().__getattribute__("fallback")

    made = Asked()
    made.fallback = 1
    assert made.anything == 1


def test_setattr_and_delattr_overrides(base, elsewhere):
    class Logged(base):
        log = []

        def __setattr__(self, name, value):
            self.log.append(name)
            super().__setattr__(name.lower(), value)

        def __delattr__(self, name):
            self.log.append(f"del {name}")
            super().__delattr__(name.lower())

    made = Logged()
    made.UPPER = 1
    assert made.upper == 1
    assert elsewhere(lambda: hasattr(made, "upper")) is False
    del made.UPPER
    assert not hasattr(made, "upper")
    assert Logged.log == ["UPPER", "del UPPER"]
    with pytest.raises(AttributeError):
        del made.UPPER


def test_the_methods_of_object_do_not_get_around_the_store(base, elsewhere):
    made = base()
    made.a = 1
    with pytest.raises(AttributeError):
        object.__getattribute__(made, "a")
    with contextlib.suppress(TypeError):  # as with threading.local: from 3.13 on CPython accepts it
        object.__setattr__(made, "b", 1)
    assert not hasattr(made, "b")
    assert not elsewhere(lambda: hasattr(made, "b"))


def test_several_bases(key, elsewhere):
    class Before:
        a = "before"

        def __init__(self, *args):
            self.args = args
            super().__init__()

    class After:
        a = "after"

        def method(self):
            return self.args, self.a

    class Mixed(Before, xctx.local, After, key=key):
        pass

    made = Mixed(1, 2)
    made.a = "own"
    assert made.method() == ((1, 2), "own")
    assert elsewhere(made.method) == ((1, 2), "before")
    assert isinstance(made, xctx.local)


def test_init_that_calls_the_next(base, elsewhere):
    class First(base):
        def __init__(self, x, **kwargs):
            self.x = x
            super().__init__(**kwargs)

    class Second(base):
        def __init__(self, y):
            self.y = y
            super().__init__()

    class Both(First, Second):
        pass

    made = Both(1, y=2)
    assert (made.x, made.y) == (1, 2)
    made.x = 3
    assert elsewhere(lambda: (made.x, made.y)) == (1, 2)


def test_the_keys_of_several_bases():
    class Threads(xctx.local, key=keys.thread):
        pass

    class Tasks(xctx.local, key=keys.task):
        pass

    class Both(Threads, Tasks):
        pass

    class Named(Both, key=keys.process):
        pass

    results = []
    for cls in Both, Named:
        made = cls()
        made.a = 1
        thread = threading.Thread(target=lambda made=made: results.append(hasattr(made, "a")))
        thread.start()
        thread.join()
    assert results == [False, True]


def test_new_and_init(base, elsewhere):
    class Made(base):
        def __new__(cls, *args):
            return super().__new__(cls, *args)

        def __init__(self, *args):
            self.args = args

    made = Made(1)
    made.args = "changed"
    assert elsewhere(lambda: made.args) == (1,)


def test_calling_init_by_hand(base, elsewhere):
    class Counted(base):
        def __init__(self, number=1):
            self.number = number

    made = Counted(1)
    made.__init__(5)
    assert made.number == 5
    assert elsewhere(lambda: made.number) == 1


def test_init_that_touches_what_is_being_made(base, elsewhere):
    class Busy(base):
        count = 0

        def __init__(self):
            Busy.count += 1
            assert self.__dict__ == {}
            assert not hasattr(self, "a")
            self.a = 1
            del self.a
            self.__dict__["b"] = 2
            self.__release_local__()
            self.c = [self.__dict__.copy(), dir(self), list(vars(self))]

    made = Busy()
    assert Busy.count == 1
    assert list(made.__dict__) == ["c"]
    assert elsewhere(lambda: list(made.__dict__)) == ["c"]
    assert Busy.count == 2


def test_init_in_one_greenlet_while_another_touches(greenlet):
    main = greenlet.getcurrent()
    order = []

    class Slow(xctx.local):
        def __init__(self):
            order.append("begun")
            if greenlet.getcurrent() is not main:
                main.switch()
            self.ready = True
            order.append("ended")

    made = Slow()
    others = [greenlet.greenlet(lambda: made.ready) for _ in range(3)]
    for each in others:
        each.switch()
        assert made.ready
    assert [each.switch() for each in reversed(others)] == [True] * 3
    assert order == ["begun", "ended"] + ["begun"] * 3 + ["ended"] * 3


def test_class_of_an_object_can_be_replaced(base):
    class One(base):
        pass

    class Two(base):
        @property
        def doubled(self):
            return self.a * 2

    made = One()
    made.a = 1
    made.__class__ = Two
    assert made.doubled == 2
    assert type(made) is Two


def test_special_names(base):
    class Documented(base):
        """What it is for."""

    made = Documented()
    assert made.__doc__ == "What it is for."
    made.__doc__ = "own"
    assert (made.__doc__, Documented.__doc__) == ("own", "What it is for.")
    assert made.__class__ is Documented
    assert made.__module__ == __name__
    made.__private = 1
    assert made.__private == 1


def test_subclass_of_a_subclass_with_and_without_init(base):
    class Plain(base):
        pass

    class Initialised(Plain):
        def __init__(self, a):
            self.a = a

    class Derived(Initialised):
        pass

    assert Derived(1).a == 1
    with pytest.raises(TypeError):
        Derived()
    with pytest.raises(TypeError):
        Plain(1)
