#include "export/witness_request.h"

#include <string.h>

#include "base/text.h"

#include "export/verify_leaf.h"
#include "export/verify_line.h"
#include "export/verify_tree.h"

#define HASH_TEXT 44
#define OLD "old "

static bool
parse_old(struct view *rest, uint64_t *old)
{
	const size_t n = sizeof(OLD) - 1;
	struct view line;

	return verify_line(rest, &line) && line.n > n &&
	    memcmp(line.p, OLD, n) == 0 &&
	    view_to_u64(view_of(line.p + n, line.n - n), old);
}

/* Lines of a hash each, and the empty line after them. */
static bool
parse_hashes(struct view *rest, uint8_t (*out)[32], size_t *count)
{
	struct view line;

	*count = 0;
	while (verify_line(rest, &line)) {
		if (line.n == 0)
			return true;
		if (*count == WITNESS_PROOF_MAX || line.n != HASH_TEXT ||
		    !text_get_base64_fixed(line, out[*count], 32))
			return false;
		++*count;
	}
	return false;
}

/* The lines up to an empty one, which is taken as well. */
static bool
take_leaf(struct view *rest, struct view *leaf)
{
	struct view line;

	*leaf = view_of(rest->p, 0);
	while (verify_line(rest, &line)) {
		if (line.n == 0)
			return leaf->n > 0;
		leaf->n += line.n + 1;
	}
	return false;
}

static struct view
field(const struct verify_leaf *leaf, const char *name)
{
	for (unsigned i = 0; i < leaf->fields; i++)
		if (view_is(leaf->field[i].name, name))
			return leaf->field[i].value;
	return view_of("", 0);
}

/* A vkey, as any value of a leaf, stands there in tokens. */
static bool
parse_key_field(struct view value, struct verify_key *key, const char **why)
{
	struct buf text;
	bool ok;

	buf_init(&text);
	ok = text_get_token(value, &text) && !text.failed &&
	    verify_key_parse(buf_view(&text), key, why);
	buf_release(&text);
	return ok;
}

static bool
parse_link(struct view *rest, struct witness_link *l, const char **why)
{
	struct verify_leaf leaf;
	unsigned line;

	*why = "no leaf, or no empty line after it";
	if (!take_leaf(rest, &l->leaf) ||
	    !verify_leaf_parse(l->leaf, &leaf, &line, why))
		return false;
	*why = "not the leaf of a key record";
	if (leaf.kind != VERIFY_KIND_KEY)
		return false;
	l->seq = leaf.seq;
	*why = "key malformed";
	if (!parse_key_field(field(&leaf, "vkey"), &l->key, why))
		return false;
	*why = "key record malformed";
	l->clean = view_is(field(&leaf, "clean"), "yes");
	if ((!l->clean && !view_is(field(&leaf, "clean"), "no")) ||
	    !verify_hex(field(&leaf, "next"), l->after, 32))
		return false;
	*why = "compact range malformed";
	return parse_hashes(rest, l->range, &l->ranges) &&
	    l->ranges == (size_t)__builtin_popcountll(l->seq);
}

bool
witness_request_parse(struct view body, bool is_link,
    struct witness_request *out, const char **why)
{
	unsigned line;

	memset(out, 0, sizeof(*out));
	out->is_link = is_link;
	*why = "body too long";
	if (body.n > WITNESS_BODY_MAX)
		return false;
	*why = "old size malformed";
	if (!parse_old(&body, &out->old))
		return false;
	*why = "proof malformed";
	if (!parse_hashes(&body, out->proof, &out->proofs))
		return false;
	if (is_link && !parse_link(&body, &out->link, why))
		return false;
	if (!verify_note_parse(body, &out->note, &line, why))
		return false;
	*why = "old size is more than the checkpoint's";
	if (out->old > out->note.size)
		return false;
	if (!is_link)
		return true;
	*why = "the key record is not the checkpoint's last";
	if (out->link.seq + 1 != out->note.size)
		return false;
	*why = "the key has another name than the log";
	return view_is(out->note.origin, out->link.key.name);
}

void
witness_link_root(const struct witness_link *l, uint8_t root[32])
{
	struct verify_tree t;
	uint8_t hash[32];

	verify_tree_init(&t);
	(void)verify_tree_extend(/* their number was checked */
	    &t, l->seq, view_of(l->range, l->ranges * 32));
	verify_leaf_hash(l->leaf, hash);
	verify_tree_add(&t, hash, NULL, NULL);
	verify_tree_root(&t, root);
}
