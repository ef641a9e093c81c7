"""A chat template: Jinja text, the tokenizer's named tokens, and the one date that it may print.

The environment is set up as transformers sets up its own (sandboxed, `trim_blocks`,
`lstrip_blocks`, `{% generation %}`, loop controls, `tojson` without HTML escapes,
`raise_exception`, `strftime_now`; see "Writing a chat template" in its documentation); a test
renders the same conversations with both. Importing transformers for it would take two seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from jinja2 import TemplateError, meta
from jinja2.environment import Template
from jinja2.exceptions import SecurityError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.utils import Namespace

from sftplay.data import exact_json
from sftplay.data.rendering import bounded
from sftplay.data.rendering.bounded import BoundedEnvironment, too_large
from sftplay.data.rendering.trial import try_out
from sftplay.errors import DataError
from sftplay.files import hash_bytes

TEMPLATE_FILE = "chat_template.jinja"
Message = Mapping[str, Any]
NO_MORE: Mapping[str, Any] = {}
# What a template may die of: its own raise_exception, and Python errors on values that it did not
# expect.
_TEMPLATE_FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


_TURNS = [{"role": role, "content": f"try the {role}"} for role in ("user", "assistant") * 3]
_CONVERSATIONS = (
    _TURNS[:1],
    _TURNS[:2],
    [{"role": "system", "content": "try the system turn"}, *_TURNS[:3]],
    _TURNS,
)


class RefusedConversationError(DataError):
    """The chat template can't render this conversation; others may be fine."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template that always renders the same text for the same messages.

    Attributes:
        source: the Jinja text.
        named: `bos_token`, `eos_token` … as the template sees them.
        date: ISO date that `strftime_now` prints; None: today's, as transformers does.
    """

    source: str
    named: Mapping[str, str] = field(default_factory=dict)
    date: str | None = None

    @cached_property
    def hash(self) -> str:
        """`sha256:<hex>` of the Jinja text."""
        return hash_bytes(self.source.encode("utf-8"))

    @property
    def uses_date(self) -> bool:
        """True if the template asks for today's date anywhere."""
        return "strftime_now" in meta.find_undeclared_variables(_compiler().parse(self.source))

    def render(
        self,
        messages: Sequence[Message],
        add_generation_prompt: bool,
        tools: list[Any] | None = None,
        more: Mapping[str, Any] = NO_MORE,
    ) -> str:
        """Return the conversation as one text, special tokens included.

        Args:
            messages: `{"role", "content"}` each.
            add_generation_prompt: end with what opens the model's answer.
            tools: JSON schemas of tools that the model may call.
            more: further arguments of the conversation for the template (`chat_template_kwargs`).

        Raises:
            RefusedConversationError: the template refuses it (65); `what` holds the template's own
                words.
        """
        try:
            return self._template().render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                strftime_now=self._strftime_now,
                **{**self.named, **more},
            )
        except SecurityError as error:
            raise RefusedConversationError(
                f"the chat template does something unsafe: {error}"
            ) from error
        except MemoryError as error:
            raise too_large() from error
        except _TEMPLATE_FAILURES as error:
            raise RefusedConversationError(
                f"the chat template refuses the conversation: {error}"
            ) from error

    def _template(self) -> Template:
        return _compiled(self.source)

    def _strftime_now(self, pattern: str) -> str:
        moment = datetime.fromisoformat(self.date) if self.date else datetime.now()
        return moment.strftime(pattern)


def checked_template(
    source: str, named: Mapping[str, str], date: str | None, where: str
) -> ChatTemplate:
    """Return a template that is known to compile, and to end.

    Raises:
        DataError: not valid Jinja, with the line; or it needs too much time or memory (65).
    """
    _try_once(source, tuple(named.items()), where)
    try:
        _compiled(source)
    except TemplateSyntaxError as error:
        raise DataError(
            f"the chat template is not valid Jinja: {error.message}",
            where=f"{where}:{error.lineno}",
        ) from error
    except (SyntaxError, ValueError, OverflowError) as error:  # {% break %} outside of a loop
        raise DataError(
            f"the chat template is not valid Jinja: {error.args[0] if error.args else error}",
            where=where,
        ) from error
    return ChatTemplate(source, dict(named), date)


@lru_cache(maxsize=64)
def _try_once(source: str, named: tuple[tuple[str, str], ...], where: str) -> None:
    template = ChatTemplate(source, dict(named))
    try_out(source, lambda: _rehearse(template), where)


def _rehearse(template: ChatTemplate) -> None:
    """Compile and render some conversations; what is wrong with them is said elsewhere."""
    bounded.SECONDS = 2.0  # in the process of the trial
    with contextlib.suppress(SyntaxError, TemplateSyntaxError, ValueError, OverflowError):
        _compiled(template.source)
        for messages in _CONVERSATIONS:
            for prompt in (False, True):
                with contextlib.suppress(RefusedConversationError):
                    template.render(messages, prompt)


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`: marks what transformers' own masking would train.

    Here it prints its body.
    """

    tags = {"generation"}  # noqa: RUF012  (declared so by jinja2)

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller: Macro) -> str:
        return caller()


class _SafeNamespace(Namespace):
    """jinja2's namespace without underscore names, by which a template could reach Python's
    internals.
    """

    def __init__(*args: Any, **kwargs: Any) -> None:
        for name in dict(*args[1:], **kwargs):
            _refuse_underscore(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_underscore(name)
        super().__setitem__(name, value)


class _Dict:
    """`dict(…)` and `dict.fromkeys(…)`, without the type itself, whose methods would change what
    they are given.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, keys: Iterable[Any], value: Any = None) -> dict[Any, Any]:
        return dict.fromkeys(keys, value)


def _refuse_underscore(name: str) -> None:
    if name.startswith("_"):
        raise SecurityError(f"a namespace can't hold a name with an underscore in front: {name!r}")


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return exact_json.pretty(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def make_environment(kind: type[BoundedEnvironment]) -> BoundedEnvironment:
    """Return a Jinja environment for chat templates."""
    environment = kind(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["dict"] = _Dict()
    environment.globals["namespace"] = _SafeNamespace
    return environment


@lru_cache(maxsize=1)
def _compiler() -> BoundedEnvironment:
    return make_environment(BoundedEnvironment)


@lru_cache(maxsize=8)
def _compiled(source: str) -> Template:
    return _compiler().from_string(source)
