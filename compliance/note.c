#include "compliance/note.h"

#include <string.h>

#include "base/text.h"

#define DASH "\xe2\x80\x94 "
#define BLOB_LEN (4 + CRYPTO_SIGNATURE_LEN)
#define SIGNATURES_MAX 64
#define SKEY_PREFIX "PRIVATE+KEY+"

bool
note_name_valid(struct view name)
{
	if (name.n == 0 || name.n > NOTE_NAME_MAX || !text_utf8_valid(name))
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] == '+' || name.p[i] == 0x7f)
			return false;
	return true;
}

uint32_t
note_typed_id(enum note_type type, struct view name,
    const uint8_t public[CRYPTO_PUBLIC_LEN])
{
	const uint8_t middle[] = {'\n', (uint8_t)type};
	const struct view parts[] = {
	    name, {middle, sizeof middle}, {public, CRYPTO_PUBLIC_LEN}};
	uint8_t hash[CRYPTO_SHA256_LEN];
	struct reader r;

	crypto_sha256_parts(parts, 3, hash);
	r = reader_of(view_of(hash, sizeof hash));
	return reader_u32(&r);
}

uint32_t
note_key_id(struct view name, const uint8_t public[CRYPTO_PUBLIC_LEN])
{
	return note_typed_id(NOTE_ED25519, name, public);
}

/* "name+id+base64(type || key)", as vkeys and skeys share it. */
static void
put_key(struct buf *b, enum note_type type, struct view name, uint32_t id,
    const uint8_t key[32])
{
	uint8_t blob[33];
	uint8_t id_bytes[4] = {(uint8_t)(id >> 24), (uint8_t)(id >> 16),
	    (uint8_t)(id >> 8), (uint8_t)id};

	blob[0] = (uint8_t)type;
	memcpy(blob + 1, key, 32);
	buf_put_view(b, name);
	buf_put_u8(b, '+');
	text_put_hex(b, id_bytes, sizeof id_bytes);
	buf_put_u8(b, '+');
	text_put_base64(b, blob, sizeof blob);
	crypto_wipe(blob, sizeof blob);
}

/* Key ids are written in lower case, and read in no other. */
static bool
parse_id(struct view text, uint32_t *id)
{
	uint8_t bytes[4];
	struct reader r;

	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] >= 'A' && text.p[i] <= 'F')
			return false;
	if (text.n != 8 || !text_get_hex(text, bytes, sizeof bytes))
		return false;
	r = reader_of(view_of(bytes, sizeof bytes));
	*id = reader_u32(&r);
	return true;
}

static bool
parse_key(struct view text, enum note_type type, struct view *name,
    uint32_t *id, uint8_t key[32])
{
	const uint8_t *plus = text.n == 0 ? NULL : memchr(text.p, '+', text.n);
	uint8_t blob[33];
	struct view rest;

	if (plus == NULL)
		return false;
	*name = view_of(text.p, (size_t)(plus - text.p));
	rest = view_of(plus + 1, text.n - name->n - 1);
	if (!note_name_valid(*name) || rest.n < 9 || rest.p[8] != '+' ||
	    !parse_id(view_of(rest.p, 8), id) ||
	    !text_get_base64_fixed(
		view_of(rest.p + 9, rest.n - 9), blob, sizeof blob) ||
	    blob[0] != type)
		return false;
	memcpy(key, blob + 1, 32);
	crypto_wipe(blob, sizeof blob);
	return true;
}

void
note_put_vkey(
    struct buf *b, struct view name, const uint8_t public[CRYPTO_PUBLIC_LEN])
{
	note_put_typed_vkey(b, NOTE_ED25519, name, public);
}

void
note_put_typed_vkey(struct buf *b, enum note_type type, struct view name,
    const uint8_t public[CRYPTO_PUBLIC_LEN])
{
	put_key(b, type, name, note_typed_id(type, name, public), public);
}

bool
note_parse_vkey(struct view text, struct note_vkey *out)
{
	return note_parse_typed_vkey(text, NOTE_ED25519, out);
}

bool
note_parse_typed_vkey(
    struct view text, enum note_type type, struct note_vkey *out)
{
	return parse_key(text, type, &out->name, &out->id, out->public) &&
	    out->id == note_typed_id(type, out->name, out->public);
}

void
note_put_skey(struct buf *b, struct view name,
    const uint8_t seed[CRYPTO_SEED_LEN],
    const uint8_t public[CRYPTO_PUBLIC_LEN])
{
	buf_put_text(b, SKEY_PREFIX);
	put_key(b, NOTE_ED25519, name, note_key_id(name, public), seed);
}

bool
note_parse_skey(struct view text, struct view *name, uint32_t *id,
    uint8_t seed[CRYPTO_SEED_LEN])
{
	size_t n = strlen(SKEY_PREFIX);

	if (text.n < n || memcmp(text.p, SKEY_PREFIX, n) != 0)
		return false;
	return parse_key(
	    view_of(text.p + n, text.n - n), NOTE_ED25519, name, id, seed);
}

void
note_put_body(
    struct buf *b, struct view origin, uint64_t size, const uint8_t root[32])
{
	buf_put_view(b, origin);
	buf_put_u8(b, '\n');
	buf_put_decimal(b, size);
	buf_put_u8(b, '\n');
	text_put_base64(b, root, 32);
	buf_put_u8(b, '\n');
}

static bool
take_line(struct view *text, struct view *line)
{
	const uint8_t *p = text->n == 0 ? NULL : memchr(text->p, '\n', text->n);

	if (p == NULL)
		return false;
	*line = view_of(text->p, (size_t)(p - text->p));
	text->p = p + 1;
	text->n -= line->n + 1;
	return true;
}

bool
note_parse_body(struct view body, struct note *out)
{
	struct view size, root;

	out->body = body;
	out->signatures = view_of(NULL, 0);
	return take_line(&body, &out->origin) && take_line(&body, &size) &&
	    take_line(&body, &root) && body.n == 0 &&
	    note_name_valid(out->origin) && view_to_u64(size, &out->size) &&
	    root.n == 44 && text_get_base64_fixed(root, out->root, 32);
}

bool
note_sign(struct buf *b, struct view body, struct view name,
    const struct crypto_key *key)
{
	uint8_t public[CRYPTO_PUBLIC_LEN];
	uint8_t blob[BLOB_LEN];
	uint32_t id;

	crypto_key_public(key, public);
	id = note_key_id(name, public);
	for (unsigned i = 0; i < 4; i++)
		blob[i] = (uint8_t)(id >> (24 - 8 * i));
	if (!crypto_sign(key, body.p, body.n, blob + 4))
		return false;
	buf_put_view(b, body);
	buf_put_text(b, "\n" DASH);
	buf_put_view(b, name);
	buf_put_u8(b, ' ');
	text_put_base64(b, blob, sizeof blob);
	buf_put_u8(b, '\n');
	return !b->failed;
}

/* Splits a signature line; blob holds key id and signature of any length. */
static bool
parse_signature(struct view line, struct view *name, struct view *blob)
{
	size_t n = strlen(DASH);
	const uint8_t *space;

	if (line.n < n || memcmp(line.p, DASH, n) != 0)
		return false;
	line = view_of(line.p + n, line.n - n);
	space = line.n == 0 ? NULL : memchr(line.p, ' ', line.n);
	if (space == NULL)
		return false;
	*name = view_of(line.p, (size_t)(space - line.p));
	*blob = view_of(space + 1, line.n - name->n - 1);
	return note_name_valid(*name) && blob->n > 0;
}

bool
note_parse(struct view text, struct note *out, const char **why)
{
	struct view lines, line, name, blob;
	const uint8_t *blank;
	unsigned count = 0;

	*why = "too long";
	if (text.n > NOTE_MAX)
		return false;
	*why = "no blank line between body and signatures";
	blank = text.n == 0 ? NULL : memmem(text.p, text.n, "\n\n", 2);
	if (blank == NULL)
		return false;
	*why = "body is not origin, size and root";
	if (!note_parse_body(
		view_of(text.p, (size_t)(blank - text.p) + 1), out))
		return false;
	lines = view_of(blank + 2, text.n - out->body.n - 1);
	out->signatures = lines;
	*why = "malformed signature line";
	while (lines.n > 0)
		if (++count > SIGNATURES_MAX || !take_line(&lines, &line) ||
		    !parse_signature(line, &name, &blob))
			return false;
	*why = "no signature";
	return count > 0;
}

/* Whether name and id are the key's; of another kind its length differs. */
static bool
is_of(struct view line, const struct note_vkey *key, uint8_t blob[BLOB_LEN])
{
	struct view name, text;
	struct reader r;

	if (!parse_signature(line, &name, &text) || name.n != key->name.n ||
	    memcmp(name.p, key->name.p, name.n) != 0 ||
	    !text_get_base64_fixed(text, blob, BLOB_LEN))
		return false;
	r = reader_of(view_of(blob, BLOB_LEN));
	return reader_u32(&r) == key->id;
}

bool
note_next_line(struct view *text, struct view *line)
{
	if (!take_line(text, line))
		return false;
	line->n++;
	return true;
}

void
note_put_own(struct buf *b, const struct note *n)
{
	struct view lines = n->signatures;
	struct view line, name, blob;

	buf_put_view(b, n->body);
	buf_put_u8(b, '\n');
	while (take_line(&lines, &line))
		if (parse_signature(line, &name, &blob) &&
		    name.n == n->origin.n &&
		    memcmp(name.p, n->origin.p, name.n) == 0)
			buf_put(b, line.p, line.n + 1);
}

void
note_put_bare(struct buf *b, const struct note *n, const struct note_vkey *key)
{
	struct view lines = n->signatures;
	uint8_t blob[BLOB_LEN];
	struct view line;

	buf_put_view(b, n->body);
	buf_put_u8(b, '\n');
	while (take_line(&lines, &line))
		if (is_of(line, key, blob))
			buf_put(b, line.p, line.n + 1);
}

bool
note_verify(const struct note *n, const struct note_vkey *key, const char **why)
{
	struct view lines = n->signatures;
	struct view line;
	bool found = false;

	while (take_line(&lines, &line)) {
		uint8_t blob[BLOB_LEN];

		if (!is_of(line, key, blob))
			continue;
		if (!crypto_verify(
			key->public, n->body.p, n->body.n, blob + 4)) {
			*why = "a signature with our key's id does not verify";
			return false;
		}
		found = true;
	}
	*why = "not signed by the key";
	return found;
}
