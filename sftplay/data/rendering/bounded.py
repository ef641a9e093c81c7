"""Chat templates in bounded time and memory: a Jinja environment that counts.

A template comes with a model, from strangers, and its loops may be driven by the rows. Each pass of
a loop and each call of a macro looks at the clock; what is made of strings and lists is counted
before it is made (products, padding, replacements) or right after.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jinja2 import nodes, pass_context
from jinja2.runtime import Context, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment

from sftplay.errors import DataError

SECONDS = 5.0  # of one rendering; a usual one takes less than a millisecond
LARGEST = 64_000_000  # characters of a text, items of a list
MADE = 512_000_000  # bytes of all texts and lists that one rendering makes
_WIDEST = 100_000  # characters that a text is padded to
_WIDE_FORMAT = re.compile(r"[0-9]{6}|\*|\{[^{}]*\{")  # of `%` and `format`: a width, or one given
_PADDING = ("center", "ljust", "rjust", "zfill", "expandtabs")
_ADVICE = "use another chat template: data.chat_template, or `trl:NAME`"


class EndlessTemplateError(DataError):
    """The chat template needs more time or memory than any rendering does."""


class RenderingBudget:
    """Time and memory that are left to one rendering."""

    def __init__(self) -> None:
        self.until = time.monotonic() + SECONDS
        self.began = time.thread_time()
        self.left = MADE

    def tick(self) -> None:
        """Look at the clock: time in which this thread did not run does not count.

        Raises:
            EndlessTemplateError: it renders for too long (65).
        """
        if time.monotonic() > self.until and time.thread_time() - self.began > SECONDS:
            raise EndlessTemplateError(
                f"the chat template renders a conversation for more than {SECONDS:.0f} seconds: "
                "its loops do not end",
                todo=_ADVICE,
            )

    def charge(self, value: Any) -> Any:
        """Count a value that was made.

        Raises:
            EndlessTemplateError: too much by now (65).
        """
        if type(value) in (str, list, tuple):
            self.left -= sys.getsizeof(value)
            if self.left < 0:
                raise too_large()
        self.tick()
        return value


class BoundedContext(Context):
    """The variables of one rendering, and what it may still use."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.budget = RenderingBudget()

    def derived(self, *args: Any, **kwargs: Any) -> Context:
        """Make the context of a scoped block: it uses up the same budget."""
        context = super().derived(*args, **kwargs)
        context.budget = self.budget  # type: ignore[attr-defined]
        return context


def too_large() -> EndlessTemplateError:
    """The error of a template that makes too much text."""
    return EndlessTemplateError("the chat template makes too much text", todo=_ADVICE)


def bounded_concat(pieces: Iterable[str]) -> str:
    """Join the pieces of an output, if they are not too many characters."""
    parts = list(pieces)
    if sum(map(len, parts)) > LARGEST:
        raise too_large()
    return "".join(parts)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates end, and do not fill the memory."""

    intercepted_binops = frozenset(("*", "**", "%", "+"))
    context_class = BoundedContext
    concat = staticmethod(bounded_concat)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.globals.pop("lipsum", None)  # text by chance has no place in a conversation
        for name, check in _FILTER_CHECKS.items():
            self.filters[name] = _checked(self.filters[name], check)
        self.filters["map"] = _charged_map(self.filters["map"])
        self.filters.update(_sftplay_tick=_tick, _sftplay_charge=_charge, _sftplay_join=_join)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Compute a product, power, remainder or sum that is not too large."""
        _check_binop(operator, left, right)
        value = super().call_binop(context, operator, left, right)
        return context.budget.charge(value)  # type: ignore[attr-defined]

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - as jinja2 names it
        """Call a method or macro whose result is not too large."""
        _check_call(__obj, args, kwargs)
        value = super().call(__context, __obj, *args, **kwargs)
        return __context.budget.charge(value)  # type: ignore[attr-defined]

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        _count_in(source)
        return super()._generate(source, *args, **kwargs)


def _count_in(tree: nodes.Template) -> None:
    """Let a parsed template count: passes of loops, calls of macros, and what it makes."""
    repeated: Any = (nodes.For, nodes.Macro, nodes.CallBlock)
    for node in list[Any](tree.find_all(repeated)):
        tick = _filter(nodes.Const(0, lineno=node.lineno), "_sftplay_tick", node.lineno)
        node.body.insert(0, nodes.ExprStmt(tick, lineno=node.lineno))
    for block in tree.find_all(nodes.AssignBlock):
        block.filter = _filter(block.filter, "_sftplay_charge", block.lineno)
    _replace_in(tree)
    if tree.environment is not None:
        tree.set_environment(tree.environment)


def _replace_in(node: nodes.Node) -> None:
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            _replace_in(value)
            setattr(node, name, _counted(value, inside=node))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, nodes.Node):
                    _replace_in(item)
                    value[index] = _counted(item, inside=node)


def _counted(node: nodes.Node, inside: nodes.Node) -> nodes.Node:
    """Return a node with what counts its value around it, where it makes one."""
    if isinstance(node, nodes.Concat):
        return _filter(nodes.List(node.nodes, lineno=node.lineno), "_sftplay_join", node.lineno)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice):
        return _filter(node, "_sftplay_charge", node.lineno)
    # Of filters in a chain the outermost counts.
    chained = isinstance(inside, (nodes.Filter, nodes.FilterBlock, nodes.AssignBlock))
    if isinstance(node, nodes.Filter) and not node.name.startswith("_sftplay") and not chained:
        return _filter(node, "_sftplay_charge", node.lineno)
    return node


def _filter(node: nodes.Expr | None, name: str, line: int) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=line)


@pass_context
def _tick(context: BoundedContext, _: Any) -> int:
    context.budget.tick()
    return 0


@pass_context
def _charge(context: BoundedContext, value: Any) -> Any:
    return context.budget.charge(value)


@pass_context
def _join(context: BoundedContext, values: list[Any]) -> str:
    """`a ~ b`."""
    if sum(len(value) for value in values if type(value) is str) > LARGEST:
        raise too_large()
    text: str = context.budget.charge(str_join(values))
    return text


def _charged_map(plain: Callable[..., Iterable[Any]]) -> Callable[..., Iterator[Any]]:
    @pass_context
    def charged(context: BoundedContext, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for value in plain(context, *args, **kwargs):
            yield context.budget.charge(value)

    return charged


def _check_binop(operator: str, left: Any, right: Any) -> None:
    if operator == "*":
        for many, times in ((left, right), (right, left)):
            if isinstance(times, int) and isinstance(many, (str, list, tuple)):
                _check_size(len(many) * times)
    if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
        bits = left.bit_length()
        _check_size(bits * right * 100 if operator == "**" else bits + right.bit_length())
    if operator == "%" and isinstance(left, str) and _WIDE_FORMAT.search(left):
        raise too_large()


def _check_call(method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    text, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
    wrapped = getattr(method, "__wrapped__", None)  # how the sandbox hands out `"…".format`
    if wrapped is not None and _WIDE_FORMAT.search(str(getattr(wrapped, "__self__", ""))):
        raise too_large()
    if not isinstance(text, str):
        return
    if name in _PADDING:
        _check_widths(*args, **kwargs)
    elif name == "replace" and len(args) >= 2:
        _check_replace(text, *args[:2])
    elif name == "join" and args and isinstance(args[0], (list, tuple)):
        _check_join(args[0], text)


def _check_size(size: int) -> None:
    if size > LARGEST:
        raise too_large()


def _check_widths(*values: Any, **more: Any) -> None:
    for value in (*values, *more.values()):
        if (isinstance(value, int) and value > _WIDEST) or (
            isinstance(value, str) and len(value) > LARGEST // 10
        ):
            raise too_large()


def _check_replace(text: Any, old: Any, new: Any, *_: Any, **__: Any) -> None:
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        _check_size(len(text) + text.count(old) * len(new))


def _check_join(values: Any, between: Any = "", *_: Any, **__: Any) -> None:
    if isinstance(values, (list, tuple)) and isinstance(between, str):
        _check_size(len(values) * len(between) + sum(len(v) for v in values if isinstance(v, str)))


def _check_format(text: Any, *_: Any, **__: Any) -> None:
    if _WIDE_FORMAT.search(str(text)):
        raise too_large()


def _check_indent(text: Any, width: Any = 4, *_: Any, **__: Any) -> None:
    size = width if isinstance(width, int) else len(width) if isinstance(width, str) else 0
    if isinstance(text, str):
        _check_size(len(text) + (text.count("\n") + 1) * size)


def _checked(plain: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """A filter that is refused before it makes too much."""
    context_first = getattr(plain, "jinja_pass_arg", None) is not None

    def filtered(*args: Any, **kwargs: Any) -> Any:
        check(*args[context_first:], **kwargs)
        return plain(*args, **kwargs)

    filtered.__dict__.update(plain.__dict__)
    return filtered


_FILTER_CHECKS: Mapping[str, Callable[..., None]] = {
    "center": _check_widths,
    "batch": _check_widths,
    "slice": _check_widths,
    "indent": _check_indent,
    "replace": _check_replace,
    "join": _check_join,
    "format": _check_format,
}
