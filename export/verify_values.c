#include "export/verify_values.h"

#include <string.h>

#include "base/text.h"
#include "export/verify_line.h"
#include "export/verify_take.h"

/* A letter for the form of each field, or the words that it may have. */
static const char *const forms[] = {
    [VERIFY_KIND_OPEN] = "t t t x t n h",
    [VERIFY_KIND_BATCH] = "a n n n n n r",
    [VERIFY_KIND_ACK] = "a n n n sent|accepted|stored t h n yes|no",
    [VERIFY_KIND_PURGE] = "n n n n t x t n o t o n",
    [VERIFY_KIND_INCIDENT] = "storage|server n n n",
    [VERIFY_KIND_BEAT] = "n n n yes|no n n h",
    [VERIFY_KIND_POLICY] = "t f 0|1|2 n t yes|no h",
    [VERIFY_KIND_KEY] = "n t x start|daily|demand|compromise yes|no",
    [VERIFY_KIND_SEAL] = "n n n",
    [VERIFY_KIND_CLOCK] = "i i yes|no n n",
    [VERIFY_KIND_HOLD] = "n t r u",
    [VERIFY_KIND_RELEASE] = "n u",
    [VERIFY_KIND_RECOVER] = "t n r t t h lost|signer|fork|compromise u",
    [VERIFY_KIND_ANCHOR] = "witness|stamp|syslog t ok|failed n n h",
    [VERIFY_KIND_LATE] = "n n n",
    [VERIFY_KIND_DROP] =
	"overload|keeper|storage|chat|password|unready|large n n n",
    [VERIFY_KIND_AUDIT] = "n n n whole|broken",
    [VERIFY_KIND_APPROVE] = "n u",
    [VERIFY_KIND_CONFLICT] = "t n yes|no n t",
};

static bool
is_number(struct view v)
{
	uint64_t n;

	return view_to_u64(v, &n) && n <= INT64_MAX;
}

/* Up to the separator; what is behind it stays in the list. */
static struct view
item(struct view *list, char separator)
{
	const uint8_t *end = memchr(list->p, separator, list->n);
	struct view first = *list;

	if (end == NULL) {
		list->n = 0;
		return first;
	}
	first.n = (size_t)(end - list->p);
	*list = view_of(end + 1, list->n - first.n - 1);
	return first;
}

static bool
is_one_of(struct view v, struct view words)
{
	while (words.n > 0) {
		struct view one = item(&words, '|');

		if (v.n == one.n && memcmp(v.p, one.p, v.n) == 0)
			return true;
	}
	return false;
}

static bool
has_form(struct view v, struct view form)
{
	const struct view after_minus = v.n > 0 ? view_of(v.p + 1, v.n - 1) : v;
	uint8_t raw[32];

	if (form.n > 1)
		return is_one_of(v, form);
	switch (form.p[0]) {
	case 'n':
		return is_number(v);
	case 'o':
		return view_is(v, "-") || is_number(v);
	case 'f':
		return view_is(v, "-1") || is_number(v);
	case 'i':
		return is_number(v) ||
		    (v.p[0] == '-' && v.p[1] != '0' && is_number(after_minus));
	case 'a':
		return verify_take_name(v);
	case 'r':
		return text_get_base64_fixed(v, raw, sizeof(raw));
	case 'h':
		return view_is(v, "-") || verify_hex(v, raw, sizeof(raw));
	case 'x':
		return verify_hex(v, raw, sizeof(raw));
	case 'u':
		return v.n > 4 && memcmp(v.p, "uid:", 4) == 0 &&
		    is_number(view_of(v.p + 4, v.n - 4));
	default:
		return true;
	}
}

static bool
is_backwards(const struct verify_leaf *l)
{
	uint64_t first, last;

	return verify_leaf_number(l, 0, &first) &&
	    verify_leaf_number(l, 1, &last) && first > last;
}

bool
verify_values(const struct verify_leaf *l, enum verify_check check,
    struct verify_report *r)
{
	const char *name = verify_kind_name(l->kind);
	bool fit = true;
	struct view rest;

	if (l->kind >= sizeof(forms) / sizeof(forms[0]) ||
	    forms[l->kind] == NULL)
		return true;
	rest = view_text(forms[l->kind]);
	for (unsigned i = 0; i < l->fields && rest.n > 0; i++) {
		if (has_form(l->field[i].value, item(&rest, ' ')))
			continue;
		verify_report_finding(r, check, verify_at_line(l->seq, 3 + i),
		    "%s record: value malformed", name);
		fit = false;
	}
	if (l->kind != VERIFY_KIND_AUDIT || !is_backwards(l))
		return fit;
	verify_report_finding(r, check, verify_at(l->seq),
	    "%s record: ends before it begins", name);
	return false;
}
