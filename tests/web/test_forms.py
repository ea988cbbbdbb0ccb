"""
The parser of query strings and bodies.
"""

from urllib.parse import quote, urlencode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.httpd.targets import unescape
from etcd_twisted.keyspace.events import LAST_MOMENT
from etcd_twisted.web import forms

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PAIRS = st.lists(st.tuples(TEXT, TEXT))


class ParseTests(SynchronousTestCase):
    """The query string and the body are decoded strictly."""

    def refused(self, *arguments: bytes) -> str:
        error = self.assertRaises(EtcdError, forms.parse, *arguments)
        self.assertEqual(error.code, ErrorCode.INVALID_FORM)
        return error.cause

    @given(PAIRS)
    def test_reads_what_was_written(self, pairs: list[tuple[str, str]]) -> None:
        """
        A form that C{urlencode} wrote is read back with the first value of each name, from the query as from the body.
        """
        first: dict[str, str] = {}
        for name, value in pairs:
            first.setdefault(name, value)
        text = urlencode(pairs).encode()
        self.assertEqual(forms.parse(text), first)
        self.assertEqual(forms.parse(b"", text), first)

    @given(st.one_of(st.binary(), TEXT.map(str.encode), st.text("ab%+&=41").map(str.encode)))
    def test_a_value_alone_is_read_as_any_form(self, value: bytes) -> None:
        """A body that is nothing but a value is read, or refused, as one with an empty pair after it."""
        alone, others = b"value=" + value, b"value=" + value + b"&"
        try:
            expected = forms.parse(b"", others)
        except EtcdError as error:
            self.assertEqual(self.refused(b"", alone), error.cause)
        else:
            self.assertEqual(forms.parse(b"", alone), expected)

    @given(
        st.one_of(st.binary(), TEXT.map(str.encode), st.text("ab%+&=41").map(str.encode)),
        st.sampled_from((b"", b"ttl=5", b"value=2")),
        st.sampled_from((None, b"application/x-www-form-urlencoded", b"application/json")),
    )
    def test_a_plain_value_is_what_the_parser_returns(self, value: bytes, query: bytes, kind: bytes | None) -> None:
        """Wherever a value is read without the parser, that returns this value and nothing else."""
        body = b"value=" + value
        plain = forms.plain_value(query, body, kind)
        if plain is not None:
            self.assertEqual(forms.parse(query, body, kind), {"value": plain})

    def test_common_values_are_plain(self) -> None:
        """A value of ASCII without escapes is read without the parser, and what may mean more is not."""
        kind = b"application/x-www-form-urlencoded"
        self.assertEqual(forms.plain_value(b"", b"value=a b=c/1", kind), "a b=c/1")
        self.assertEqual(forms.plain_value(b"", b"value=", None), "")
        for body in (b"", b"ttl=5", b"value=1&ttl=5", b"value=%41", b"value=a+b", "value=\u00e9".encode()):
            self.assertIsNone(forms.plain_value(b"", body, kind))
        self.assertIsNone(forms.plain_value(b"ttl=5", b"value=1", kind))
        self.assertIsNone(forms.plain_value(b"", b"value=1", b"text/plain"))

    @given(PAIRS, PAIRS)
    def test_body_overrides_query(self, query: list[tuple[str, str]], body: list[tuple[str, str]]) -> None:
        """A name in both has the body's value, and all others stay (spec, "Parameters")."""
        text_of_query, text_of_body = urlencode(query).encode(), urlencode(body).encode()
        expected = dict(forms.parse(text_of_query)) | dict(forms.parse(b"", text_of_body))
        self.assertEqual(forms.parse(text_of_query, text_of_body), expected)

    @given(TEXT)
    def test_unescapes_what_was_escaped(self, text: str) -> None:
        """Any text comes back from its escapes, whose hexadecimal digits may have either case."""
        everything = "".join(f"%{byte:02x}" for byte in text.encode()).encode()
        self.assertEqual(unescape(everything), text)
        self.assertEqual(unescape(everything.upper()), text)
        self.assertEqual(unescape(quote(text, safe="=\r\n_").encode()), text)

    @given(st.lists(st.sampled_from([b"%", b"=", b"\r", b"\n", b"4", b"1", b"z", b"%41", b"%3D", b"_", b" "])))
    def test_agrees_with_a_plain_decoder(self, parts: list[bytes]) -> None:
        """Any mixture of good and bad escapes, line ends and signs of quoted-printable is read byte by byte."""
        text = b"".join(parts)
        expected: str | None = _decoded_slowly(text)
        if expected is None:
            self.assertRaises(ValueError, unescape, text)
        else:
            self.assertEqual(unescape(text), expected)

    def test_plus_is_a_space(self) -> None:
        """This holds in names and in values. An escaped plus is a plus."""
        self.assertEqual(forms.parse(b"a+b=c+d%2B"), {"a b": "c d+"})

    def test_odd_pairs_are_read(self) -> None:
        """
        An empty pair is ignored, a name without an equals sign has an empty value, and further equals signs belong to
        the value.
        """
        self.assertEqual(forms.parse(b"&&wait&value=a=b&=x&"), {"wait": "", "value": "a=b", "": "x"})

    @given(st.lists(st.sampled_from(["a", "b", "=", "&", "\u00e4", "\0", ";"])))
    def test_escapes_do_not_affect_other_pairs(self, parts: list[str]) -> None:
        """A pair without escapes is read alike, whether or not another pair has some."""
        text = "".join(parts).encode()
        alone = forms.parse(b"", text)
        self.assertEqual(forms.parse(b"", text + b"&%7a=+"), {**alone, "z": " "})

    def test_bad_escape_is_named(self) -> None:
        """The cause names the part, the escape and the parameter, even if another value overrides this one."""
        self.assertEqual(self.refused(b"", b"value=a%zzb"), 'the body has the bad escape "%zz" in value')
        self.assertEqual(self.refused(b"ttl=%4"), 'the query string has the bad escape "%4" in ttl')
        self.assertEqual(self.refused(b"%=1"), 'the query string has the bad escape "%" in a name')
        self.assertIn("bad escape", self.refused(b"value=%zz", b"value=fine"))
        self.assertIn("bad escape", self.refused(b"a=1&a=%zz"))

    def test_bytes_that_are_not_utf8_are_refused(self) -> None:
        """They are refused whether they are raw or escaped (spec, "Parameters")."""
        self.assertEqual(self.refused(b"", b"value=\xff"), "the body has bytes that are not UTF-8 (\\xff) in value")
        self.assertIn("not UTF-8", self.refused(b"value=%ff"))
        self.assertIn("not UTF-8", self.refused(b"", b"value=%ed%a0%80"))

    def test_other_content_type_is_refused(self) -> None:
        """
        The cause names the type and the one to use. The type of an empty body does not matter (spec, "Parameters").
        """
        self.assertEqual(
            self.refused(b"", b'{"value": 1}', b"Application/JSON; charset=utf-8"),
            "the body is application/json: it should be application/x-www-form-urlencoded",
        )
        self.assertEqual(forms.parse(b"a=1", b"", b"application/json"), {"a": "1"})

    def test_own_content_type_is_accepted(self) -> None:
        """It may be in either case, have parameters, or be left out."""
        own = b"application/x-www-form-urlencoded"
        for content_type in (own, own + b"; charset=utf-8", own.upper(), b""):
            self.assertEqual(forms.parse(b"", b"a=1", content_type), {"a": "1"})
        self.assertEqual(forms.parse(b"", b"a=1", None), {"a": "1"})

    def test_too_many_parameters_are_refused(self) -> None:
        """A body of mere separators is not taken apart."""
        for text in (b"&" * 10_000, b"&" * 10_000 + b"%41", b"a&" * 1_000, b"a&" * 1_000 + b"%41"):
            self.assertIn("more than 1000 parameters", self.refused(b"", text))
        self.assertEqual(forms.parse(b"", b"a&" * 999), {"a": ""})

    def test_long_causes_are_cut(self) -> None:
        """A megabyte from a stranger does not come back in an error."""
        self.assertLess(len(self.refused(b"", b"x" * 1_000_000 + b"=%zz")), 200)
        self.assertLess(len(self.refused(b"", b"x", b"x" * 10_000)), 200)


def _decoded_slowly(text: bytes) -> str | None:
    out, position = bytearray(), 0
    while position < len(text):
        if text[position : position + 1] == b"%":
            digits = text[position + 1 : position + 3]
            if len(digits) < 2 or not all(digit in b"0123456789abcdefABCDEF" for digit in digits):
                return None
            out.append(int(digits, 16))
            position += 3
        else:
            out.append(text[position])
            position += 1
    return out.decode()


class TypedTests(SynchronousTestCase):
    """These tests are about parameters with a type."""

    def code(self, function: object, *arguments: object) -> tuple[ErrorCode, str]:
        error = self.assertRaises(EtcdError, function, *arguments)
        return error.code, error.cause

    def test_flags_are_read(self) -> None:
        """
        True and false may be words, letters or digits in any case. A missing flag is false, and anything else is an
        error that names the parameter (spec, "Parameters").
        """
        for text in ("true", "TRUE", "True", "tRuE", "1", "t", "T"):
            self.assertIs(forms.flag({"a": text}, "a"), True, text)
        for text in ("false", "FALSE", "False", "0", "f", "F"):
            self.assertIs(forms.flag({"a": text}, "a"), False, text)
        self.assertIs(forms.flag({}, "a"), False)
        for text in ("", " true", "2", "01", "-1", "yes", "on", "tr", "\u00b9", "true\n"):
            self.assertEqual(self.code(forms.flag, {"a": text}, "a"), (ErrorCode.INVALID_FIELD, "a"), text)

    def test_indexes_are_whole_numbers_of_64_bits(self) -> None:
        for good in ("0", "7", "007", str(2**64 - 1)):
            self.assertEqual(forms.index({"i": good}, "i", "Why"), int(good))
        self.assertEqual(forms.index({}, "i", "Why"), 0)
        for bad in ("", "-1", "+1", "1.5", "0x1", "1_0", " 1", "٣", str(2**64), "9" * 5_000):
            self.assertEqual(self.code(forms.index, {"i": bad}, "i", "Why"), (ErrorCode.INDEX_NOT_A_NUMBER, "Why"))

    def test_ttls_count_from_the_given_moment(self) -> None:
        """A TTL of 0 expires at once; a missing or empty one means no expiry."""
        self.assertEqual(forms.expiry({"ttl": "5"}, 1_000, "Why"), 5_001_000)
        self.assertEqual(forms.expiry({"ttl": "0"}, 1_000, "Why"), 1_000)
        self.assertIsNone(forms.expiry({"ttl": ""}, 1_000, "Why"))
        self.assertIsNone(forms.expiry({}, 1_000, "Why"))
        for bad in ("abc", "-1", "1.5", "+5", "٣", "9" * 5_000):
            self.assertEqual(self.code(forms.expiry, {"ttl": bad}, 0, "Why"), (ErrorCode.TTL_NOT_A_NUMBER, "Why"))

    def test_ttls_end_in_the_year_9999_at_the_latest(self) -> None:
        last = LAST_MOMENT // 1_000_000
        self.assertEqual(forms.expiry({"ttl": str(last)}, 0, "Why"), LAST_MOMENT)
        self.assertRaises(EtcdError, forms.expiry, {"ttl": str(last)}, 1, "Why")
