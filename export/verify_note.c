#include "export/verify_note.h"

#include <string.h>

#include "base/crypto.h"
#include "base/text.h"

#include "export/verify_line.h"

#define ED25519 0x01
#define ID_TEXT 8
#define PUBLIC_TEXT 44     /* base64 of the algorithm and 32 bytes */
#define SIGNATURE_BYTES 68 /* id and signature */
#define SIGNATURE_TEXT 92  /* base64 of them */
#define ROOT_TEXT 44
#define NOTE_MAX 16384
#define SIGNATURES_MAX 100

static const uint8_t dash[] = {0xe2, 0x80, 0x94, ' '};

static void
key_id(const char *name, const uint8_t public[32], uint8_t out[4])
{
	static const uint8_t middle[] = {'\n', ED25519};
	const struct view parts[] = {view_text(name),
	    view_of(middle, sizeof(middle)), view_of(public, 32)};
	uint8_t hash[32];

	crypto_sha256_parts(parts, 3, hash);
	memcpy(out, hash, 4);
}

bool
verify_name_valid(struct view v)
{
	if (v.n == 0 || v.n > VERIFY_NAME_MAX || !text_utf8_valid(v))
		return false;
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] <= ' ' || v.p[i] == '+' || v.p[i] == 0x7f)
			return false;
	return true;
}

bool
verify_key_parse(struct view text, struct verify_key *out, const char **why)
{
	const uint8_t *plus;
	struct view name, id, key;
	uint8_t bytes[33], stated[4];

	out->more = NULL;
	*why = "key has no \"+\" after its name";
	plus = memchr(text.p, '+', text.n);
	if (plus == NULL)
		return false;
	name = view_of(text.p, (size_t)(plus - text.p));
	*why = "key has a malformed name";
	if (!verify_name_valid(name))
		return false;
	*why = "key has a wrong length";
	if (text.n - name.n != 1 + ID_TEXT + 1 + PUBLIC_TEXT ||
	    plus[1 + ID_TEXT] != '+')
		return false;
	id = view_of(plus + 1, ID_TEXT);
	key = view_of(plus + 1 + ID_TEXT + 1, PUBLIC_TEXT);
	*why = "key is not Ed25519 in base64";
	if (!verify_hex(id, stated, 4) ||
	    !text_get_base64_fixed(key, bytes, sizeof(bytes)) ||
	    bytes[0] != ED25519)
		return false;
	memcpy(out->name, name.p, name.n);
	out->name[name.n] = '\0';
	memcpy(out->public, bytes + 1, 32);
	key_id(out->name, out->public, out->id);
	*why = "key id is not that of name and key";
	return memcmp(out->id, stated, 4) == 0;
}

bool
verify_key_line(struct view text, struct verify_key *out, const char **why)
{
	if (text.n > 0 && text.p[text.n - 1] == '\n')
		text.n--;
	return verify_key_parse(text, out, why);
}

const struct verify_key *
verify_key_of(const struct verify_key *given, struct view name)
{
	for (const struct verify_key *k = given; k != NULL; k = k->more)
		if (view_is(name, k->name))
			return k;
	return given;
}

bool
verify_key_equal(const struct verify_key *a, const struct verify_key *b)
{
	return strcmp(a->name, b->name) == 0 &&
	    memcmp(a->public, b->public, 32) == 0;
}

/* "— name base64": the name and the text of the signature. */
static bool
split_signature(struct view line, struct view *name, struct view *blob)
{
	const uint8_t *space;

	if (line.n < sizeof(dash) || memcmp(line.p, dash, sizeof(dash)) != 0)
		return false;
	line = view_of(line.p + sizeof(dash), line.n - sizeof(dash));
	space = memchr(line.p, ' ', line.n);
	if (space == NULL)
		return false;
	*name = view_of(line.p, (size_t)(space - line.p));
	*blob = view_of(space + 1, line.n - name->n - 1);
	return verify_name_valid(*name) && blob->n >= 8;
}

static bool
parse_signatures(struct verify_note *out, unsigned *line)
{
	struct view rest = out->signatures, text, name, blob;
	unsigned count = 0;

	while (rest.n > 0) {
		(*line)++;
		if (!verify_line(&rest, &text) || ++count > SIGNATURES_MAX ||
		    !split_signature(text, &name, &blob))
			return false;
	}
	return count > 0;
}

bool
verify_note_parse(
    struct view text, struct verify_note *out, unsigned *line, const char **why)
{
	struct view rest = text, size, root, blank;

	*line = 1;
	*why = "origin malformed";
	if (text.n > NOTE_MAX || !verify_line(&rest, &out->origin) ||
	    !verify_name_valid(out->origin))
		return false;
	*line = 2;
	*why = "tree size malformed";
	if (!verify_line(&rest, &size) || !view_to_u64(size, &out->size) ||
	    out->size > INT64_MAX)
		return false;
	*line = 3;
	*why = "root malformed";
	if (!verify_line(&rest, &root) || root.n != ROOT_TEXT ||
	    !text_get_base64_fixed(root, out->root, 32))
		return false;
	out->body = view_of(text.p, (size_t)(rest.p - text.p));
	*line = 4;
	*why = "no empty line after the body";
	if (!verify_line(&rest, &blank) || blank.n != 0)
		return false;
	out->signatures = rest;
	*why = "signature line malformed";
	return parse_signatures(out, line);
}

bool
verify_note_next_id(struct view *rest, const char *name, uint8_t id[4])
{
	struct view line, key, blob;
	uint8_t bytes[SIGNATURE_BYTES];

	while (verify_line(rest, &line)) {
		if (!split_signature(line, &key, &blob) ||
		    !view_is(key, name) || blob.n != SIGNATURE_TEXT ||
		    !text_get_base64_fixed(blob, bytes, sizeof(bytes)))
			continue;
		memcpy(id, bytes, 4);
		return true;
	}
	return false;
}

bool
verify_note_signed(
    const struct verify_note *n, const struct verify_key *key, const char **why)
{
	struct view rest = n->signatures, line, name, blob;
	uint8_t bytes[SIGNATURE_BYTES];
	bool own = false;

	*why = "origin is not the name of the key";
	if (!view_is(n->origin, key->name))
		return false;
	while (verify_line(&rest, &line)) {
		if (!split_signature(line, &name, &blob) ||
		    !view_is(name, key->name) || blob.n != SIGNATURE_TEXT ||
		    !text_get_base64_fixed(blob, bytes, sizeof(bytes)) ||
		    memcmp(bytes, key->id, 4) != 0)
			continue;
		*why = "signature is wrong";
		own =
		    crypto_verify(key->public, n->body.p, n->body.n, bytes + 4);
		if (!own)
			return false;
	}
	*why = "no signature by the key";
	return own;
}
