"""A plugin for mypy, which checks what a program does with the names that a class derived from xlocal declares.

In the configuration of mypy::

    [tool.mypy]
    plugins = ["xctx.mypy"]

Of a class that annotates names mypy then reports

- a block that binds a name which is not declared, or a value of another type: ``current(usr=1)``, ``current(user=3)``;
- a name that is read and not declared: ``current.usr``;
- a name that is set: ``current.user = x``.

A class that annotates nothing takes every name, with or without the plugin. Without it, and by other type checkers,
the declared types are checked where a name is read. Deleting a name (``del current.user``) is an error only when the
program runs: mypy has no such check.
"""

from collections.abc import Callable

import mypy.types  # noqa: F401 (first, because the modules of mypy import one another)
from mypy.errorcodes import ATTR_DEFINED
from mypy.expandtype import expand_type_by_instance
from mypy.maptype import map_instance_to_supertype
from mypy.nodes import ARG_NAMED_OPT, AssignmentStmt, MemberExpr, NameExpr, TypeInfo, Var
from mypy.plugin import AttributeContext, ClassDefContext, MethodSigContext, Plugin
from mypy.types import FunctionLike, Instance, Type, TypeVarType, get_proper_type

XLOCAL = "xctx._stores.xlocal.xlocal"
DATA = "xctx"  # the key of a class's metadata, which mypy keeps in its cache


class XlocalPlugin(Plugin):
    def get_base_class_hook(self, fullname: str) -> Callable[[ClassDefContext], None] | None:
        base = self.lookup_fully_qualified(fullname)
        is_xlocal = base is not None and isinstance(base.node, TypeInfo) and base.node.has_base(XLOCAL)
        return note_declared if is_xlocal else None

    def get_method_signature_hook(self, fullname: str) -> Callable[[MethodSigContext], FunctionLike] | None:
        return signature_of_block if fullname.endswith(".__call__") else None

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        # mypy asks this of a name that it finds in no class, and then gives the class that has __getattribute__.
        return check_declared if fullname.startswith(f"{XLOCAL}.") else None


def note_declared(context: ClassDefContext) -> None:
    """Notes the names that a class declares, and makes properties of them."""
    info = context.cls.info
    own = {name: var for name, var in annotated(context) if not (var.is_classvar or var.is_final)}
    for var in own.values():
        var.is_property = True  # of which mypy knows that it cannot be set, as with a frozen dataclass
    info.metadata[DATA] = {"names": sorted(own)}


def signature_of_block(context: MethodSigContext) -> FunctionLike:
    """The signature of a call of an xlocal: it takes the declared names, each or not."""
    called = instance_of(context.type)
    signature = context.default_signature
    if called is None or called.type.get_containing_type_info("__call__") is not xlocal_of(called.type):
        return signature
    declared = declared_types(called)
    if not declared:
        return signature
    return signature.copy_modified(
        arg_types=list(declared.values()),
        arg_kinds=[ARG_NAMED_OPT] * len(declared),
        arg_names=list(declared),
        name=called.type.name,
        definition=None,
    )


def annotated(context: ClassDefContext) -> list[tuple[str, Var]]:
    """The names that the body of the class annotates."""
    found = []
    for statement in context.cls.defs.body:
        if isinstance(statement, AssignmentStmt) and statement.unanalyzed_type is not None:
            (target,) = statement.lvalues
            node = context.cls.info.names.get(target.name) if isinstance(target, NameExpr) else None
            if node is not None and isinstance(node.node, Var):
                found.append((node.node.name, node.node))
    return found


def xlocal_of(info: TypeInfo) -> TypeInfo | None:
    return next((base for base in info.mro if base.fullname == XLOCAL), None)


def instance_of(type: Type) -> Instance | None:
    """What is known of an object of this type: of a type variable, its bound."""
    proper = get_proper_type(type)
    if isinstance(proper, TypeVarType):
        proper = get_proper_type(proper.upper_bound)
    return proper if isinstance(proper, Instance) else None


def declared_types(instance: Instance) -> dict[str, Type]:
    """The names that its class and the bases of that declare, with their types."""
    types: dict[str, Type] = {}
    for base in reversed(instance.type.mro):
        for name in base.metadata.get(DATA, {}).get("names", ()):
            var = base.names[name].node
            if isinstance(var, Var) and var.type is not None:
                types[name] = expand_type_by_instance(var.type, map_instance_to_supertype(instance, base))
    return types


def check_declared(context: AttributeContext) -> Type:
    """Reports a name that is read of an object whose class declares names, and not this one."""
    read = instance_of(context.type)
    expression = context.context
    if read is not None and isinstance(expression, MemberExpr) and not context.is_lvalue and declared_types(read):
        context.api.fail(f'"{read.type.name}" has no attribute "{expression.name}"', expression, code=ATTR_DEFINED)
    return context.default_attr_type


def plugin(version: str) -> type[Plugin]:
    """What mypy calls, with its own version."""
    return XlocalPlugin
