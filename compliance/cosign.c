#include "compliance/cosign.h"

#include <string.h>

#include "base/text.h"

#define DASH "\xe2\x80\x94 "
#define BLOB_LEN (4 + 8 + CRYPTO_SIGNATURE_LEN)

void
cosign_put_vkey(
    struct buf *b, struct view name, const uint8_t public[CRYPTO_PUBLIC_LEN])
{
	note_put_typed_vkey(b, NOTE_COSIGNATURE, name, public);
}

bool
cosign_parse_vkey(struct view text, struct note_vkey *out)
{
	return note_parse_typed_vkey(text, NOTE_COSIGNATURE, out);
}

/* "cosignature/v1" LF "time N" LF and the body: what is signed. */
static void
put_message(struct buf *b, uint64_t time, struct view body)
{
	buf_put_text(b, "cosignature/v1\ntime ");
	buf_put_decimal(b, time);
	buf_put_u8(b, '\n');
	buf_put_view(b, body);
}

bool
cosign_put_line(struct buf *b, struct view body, struct view name,
    uint64_t time, const struct crypto_key *key)
{
	uint8_t public[CRYPTO_PUBLIC_LEN], signature[CRYPTO_SIGNATURE_LEN];
	struct buf message, blob;
	bool ok;

	buf_init(&message);
	buf_init(&blob);
	crypto_key_public(key, public);
	put_message(&message, time, body);
	ok = !message.failed &&
	    crypto_sign(key, message.data, message.len, signature);
	buf_put_u32(&blob, note_typed_id(NOTE_COSIGNATURE, name, public));
	buf_put_u64(&blob, time);
	buf_put(&blob, signature, sizeof signature);
	if (ok && !blob.failed) {
		buf_put_text(b, DASH);
		buf_put_view(b, name);
		buf_put_u8(b, ' ');
		text_put_base64(b, blob.data, blob.len);
		buf_put_u8(b, '\n');
	}
	ok = ok && !blob.failed && !b->failed;
	buf_release(&blob);
	buf_release(&message);
	return ok;
}

bool
cosign_parse_line(struct view line, struct cosign *out)
{
	size_t n = strlen(DASH);
	uint8_t blob[BLOB_LEN];
	const uint8_t *space;
	struct reader r;

	if (line.n < n + 1 || line.n > COSIGN_LINE_MAX ||
	    memcmp(line.p, DASH, n) != 0 || line.p[line.n - 1] != '\n')
		return false;
	line = view_of(line.p + n, line.n - n - 1);
	space = line.n == 0 ? NULL : memchr(line.p, ' ', line.n);
	if (space == NULL)
		return false;
	out->name = view_of(line.p, (size_t)(space - line.p));
	if (!note_name_valid(out->name) ||
	    !text_get_base64_fixed(view_of(space + 1, line.n - out->name.n - 1),
		blob, sizeof blob))
		return false;
	r = reader_of(view_of(blob, sizeof blob));
	out->id = reader_u32(&r);
	out->time = reader_u64(&r);
	memcpy(out->signature, reader_rest(&r).p, sizeof out->signature);
	return out->time <= INT64_MAX;
}

bool
cosign_verify(
    const struct cosign *c, struct view body, const struct note_vkey *key)
{
	struct buf message;
	bool ok;

	if (c->id != key->id || c->name.n != key->name.n ||
	    memcmp(c->name.p, key->name.p, c->name.n) != 0)
		return false;
	buf_init(&message);
	put_message(&message, c->time, body);
	ok = !message.failed &&
	    crypto_verify(key->public, message.data, message.len, c->signature);
	buf_release(&message);
	return ok;
}
