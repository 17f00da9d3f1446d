#include "export/verify_chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "export/verify_leaf.h"
#include "export/verify_line.h"
#include "export/verify_tree.h"

#define HEADING "chancery/keys/1"
#define EPOCHS_MAX 1000000

/* One record with what leads from it to a signed checkpoint. */
struct block {
	struct buf leaf, left, right, note;
};

struct reading {
	struct view rest;
	unsigned *line;
	const char **why;
	struct block block;
	struct verify_leaf leaf;
	struct verify_note note;
	uint8_t next[32]; /* announced last */
};

static void
block_clear(struct block *b)
{
	buf_clear(&b->leaf);
	buf_clear(&b->left);
	buf_clear(&b->right);
	buf_clear(&b->note);
}

static void
block_release(struct block *b)
{
	buf_release(&b->leaf);
	buf_release(&b->left);
	buf_release(&b->right);
	buf_release(&b->note);
}

/* "word base64 base64 ...", into one row of bytes; size: of each, 0: any. */
static bool
take_line(struct reading *t, const char *word, size_t size, struct buf *out)
{
	size_t n = strlen(word);
	struct view line;

	(*t->line)++;
	*t->why = "malformed line, or one that is missing";
	if (!verify_line(&t->rest, &line) || line.n < n ||
	    memcmp(line.p, word, n) != 0)
		return false;
	line = view_of(line.p + n, line.n - n);
	while (line.n > 0) {
		const uint8_t *space;
		struct view item;
		size_t before = out->len;

		if (line.p[0] != ' ')
			return false;
		line = view_of(line.p + 1, line.n - 1);
		space = line.n == 0 ? NULL : memchr(line.p, ' ', line.n);
		item = view_of(
		    line.p, space == NULL ? line.n : (size_t)(space - line.p));
		if (item.n == 0 || !text_get_base64(item, out) || out->failed ||
		    (size > 0 && out->len - before != size))
			return false;
		line = view_of(line.p + item.n, line.n - item.n);
		if (size == 0)
			return line.n == 0;
	}
	return size > 0;
}

/* Reads a block and shows that its checkpoint covers its leaf. */
static bool
take_block(struct reading *t)
{
	struct block *b = &t->block;
	struct verify_tree tree;
	uint8_t hash[32];
	unsigned line;

	block_clear(b);
	if (!take_line(t, "leaf", 0, &b->leaf) ||
	    !take_line(t, "left", 32, &b->left) ||
	    !take_line(t, "right", 32, &b->right) ||
	    !take_line(t, "note", 0, &b->note))
		return false;
	if (!verify_leaf_parse(buf_view(&b->leaf), &t->leaf, &line, t->why) ||
	    !verify_note_parse(buf_view(&b->note), &t->note, &line, t->why))
		return false;
	*t->why = "the hashes do not lead from the record to the checkpoint";
	verify_tree_init(&tree);
	verify_leaf_hash(buf_view(&b->leaf), hash);
	if (t->leaf.seq >= t->note.size ||
	    !verify_tree_extend(&tree, t->leaf.seq, buf_view(&b->left)))
		return false;
	verify_tree_add(&tree, hash, NULL, NULL);
	if (!verify_tree_extend(&tree, t->note.size, buf_view(&b->right)))
		return false;
	verify_tree_root(&tree, hash);
	return memcmp(hash, t->note.root, 32) == 0;
}

static const struct verify_field *
field(const struct verify_leaf *l, const char *name)
{
	for (unsigned i = 0; i < l->fields; i++)
		if (view_is(l->field[i].name, name))
			return &l->field[i];
	return NULL;
}

/* The key that the record tells, and the digest of the one after it. */
static bool
take_key(struct reading *t, struct verify_key *out)
{
	const struct verify_field *vkey = field(&t->leaf, "vkey");
	const struct verify_field *next = field(&t->leaf, "next");
	struct buf text;
	bool ok;

	*t->why = "the record tells no key";
	buf_init(&text);
	ok = vkey != NULL && next != NULL &&
	    text_get_token(vkey->value, &text) && text.len > 0 &&
	    verify_key_parse(buf_view(&text), out, t->why) &&
	    verify_hex(next->value, t->next, 32);
	buf_release(&text);
	return ok;
}

static bool
grow(struct verify_chain *c, uint64_t epoch, uint64_t from,
    const struct verify_key *key, const char **why)
{
	struct verify_chain_epoch *grown = c->count == EPOCHS_MAX
	    ? NULL
	    : reallocarray(c->epoch, c->count + 1, sizeof(*grown));

	*why = "out of memory";
	if (grown == NULL)
		return false;
	c->epoch = grown;
	grown[c->count].epoch = epoch;
	grown[c->count].from = from;
	grown[c->count].key = *key;
	c->count++;
	return true;
}

static bool
is_clean(const struct verify_leaf *l)
{
	const struct verify_field *clean = field(l, "clean");

	return clean != NULL && view_is(clean->value, "yes");
}

/* Of a key record: why the key was changed, and what that makes of "clean". */
static bool
words_fit(const struct verify_leaf *l)
{
	struct view reason = field(l, "reason")->value;

	if (view_is(reason, "compromise"))
		return view_is(field(l, "clean")->value, "no");
	return is_clean(l) &&
	    (view_is(reason, "start") || view_is(reason, "daily") ||
		view_is(reason, "demand"));
}

/* The smallest checkpoint that the record's key may sign. */
static uint64_t
signs_from(const struct verify_leaf *l)
{
	return l->seq == 0 ? 0 : l->seq + (is_clean(l) ? 2 : 1);
}

/*
 * The key that is trusted, by its own word: of the record that begins a name,
 * or of the key record of a later epoch.
 */
static bool
take_first(
    struct reading *t, const struct verify_key *given, struct verify_chain *out)
{
	const struct verify_leaf *l = &t->leaf;
	struct verify_key key;
	uint64_t epoch = 0;

	if (!take_block(t) || !take_key(t, &key))
		return false;
	*t->why = "does not begin with a record that can begin a chain";
	if (l->kind == VERIFY_KIND_KEY
		? !verify_leaf_number(l, 0, &epoch) || epoch == 0 ||
		    epoch > INT64_MAX || !words_fit(l)
		: (l->kind != VERIFY_KIND_OPEN || l->seq != 0) &&
		    l->kind != VERIFY_KIND_RECOVER)
		return false;
	*t->why = "begins with another key than the one given";
	if (!verify_key_equal(&key, given))
		return false;
	*t->why = "the checkpoint is of an epoch before";
	return t->note.size >= signs_from(l) &&
	    verify_note_signed(&t->note, given, t->why) &&
	    grow(out, epoch, signs_from(l), &key, t->why);
}

/* A later record, of the next epoch, whose key is the one announced. */
static bool
goes_on(struct reading *t, const struct verify_chain *out,
    const struct verify_key *key, uint64_t last, const uint8_t announced[32])
{
	const struct verify_chain_epoch *before = &out->epoch[out->count - 1];
	uint64_t epoch;
	uint8_t digest[32];

	*t->why = "not the key record of the next epoch";
	if (t->leaf.kind != VERIFY_KIND_KEY ||
	    !verify_leaf_number(&t->leaf, 0, &epoch) ||
	    epoch != before->epoch + 1 || t->leaf.seq <= last ||
	    !words_fit(&t->leaf) || strcmp(key->name, before->key.name) != 0)
		return false;
	*t->why = "the key is not the one announced before";
	crypto_sha256(key->public, 32, digest);
	return memcmp(digest, announced, 32) == 0;
}

static bool
take_link(struct reading *t, struct verify_chain *out)
{
	struct verify_chain_epoch before = out->epoch[out->count - 1];
	uint8_t announced[32];
	uint64_t last = t->leaf.seq;
	struct verify_key key;
	bool clean;

	memcpy(announced, t->next, 32);
	if (!take_block(t) || !take_key(t, &key) ||
	    !goes_on(t, out, &key, last, announced))
		return false;
	clean = is_clean(&t->leaf);
	*t->why = "the checkpoint does not end with the key record";
	if (clean && t->note.size != t->leaf.seq + 1)
		return false;
	return verify_note_signed(
		   &t->note, clean ? &before.key : &key, t->why) &&
	    grow(out, before.epoch + 1, signs_from(&t->leaf), &key, t->why);
}

bool
verify_chain_parse(struct view text, const struct verify_key *given,
    struct verify_chain *out, unsigned *line, const char **why)
{
	struct reading *t = calloc(1, sizeof(*t));
	struct view heading;
	bool ok;

	memset(out, 0, sizeof(*out));
	*line = 1;
	*why = "out of memory";
	if (t == NULL)
		return false;
	t->rest = text;
	t->line = line;
	t->why = why;
	*why = "does not begin with \"" HEADING "\"";
	ok = verify_line(&t->rest, &heading) && view_is(heading, HEADING) &&
	    take_first(t, given, out);
	while (ok && t->rest.n > 0)
		ok = take_link(t, out);
	block_release(&t->block);
	free(t);
	if (!ok)
		verify_chain_release(out);
	return ok;
}

const struct verify_key *
verify_chain_key(const struct verify_chain *c, uint64_t size)
{
	const struct verify_key *key = NULL;

	for (size_t i = 0; i < c->count && c->epoch[i].from <= size; i++)
		key = &c->epoch[i].key;
	return key;
}

void
verify_chain_release(struct verify_chain *c)
{
	free(c->epoch);
	memset(c, 0, sizeof(*c));
}
