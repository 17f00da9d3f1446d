#include "export/witness_key.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/text.h"

#define COSIGNATURE_V1 0x04
#define DASH "\xe2\x80\x94 "
#define PREFIX "PRIVATE+KEY+"
#define NAME_MAX_LEN 255
#define FILE_MAX 1024
#define ID_TEXT 8

struct witness_key {
	char name[NAME_MAX_LEN + 1];
	uint8_t id[4];
	uint8_t public[CRYPTO_PUBLIC_LEN];
	struct crypto_key *secret;
};

static bool
fail(const char *what, const char *reason, char *why, size_t why_len)
{
	(void)snprintf(why, why_len, "%s: %s", what, reason);
	return false;
}

bool
witness_name_valid(struct view v)
{
	if (v.n == 0 || v.n > NAME_MAX_LEN || !text_utf8_valid(v))
		return false;
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] <= ' ' || v.p[i] == '+' || v.p[i] == 0x7f)
			return false;
	return true;
}

static struct witness_key *
key_new(struct view name, const uint8_t seed[CRYPTO_SEED_LEN])
{
	static const uint8_t middle[] = {'\n', COSIGNATURE_V1};
	struct witness_key *k = calloc(1, sizeof(*k));
	uint8_t hash[32];

	if (k == NULL)
		return NULL;
	k->secret = crypto_key_new(seed);
	if (k->secret == NULL) {
		free(k);
		return NULL;
	}
	crypto_key_public(k->secret, k->public);
	memcpy(k->name, name.p, name.n);
	crypto_sha256_parts(
	    (const struct view[]){name, view_of(middle, sizeof(middle)),
		view_of(k->public, sizeof(k->public))},
	    3, hash);
	memcpy(k->id, hash, sizeof(k->id));
	return k;
}

/* "name+id+base64(algorithm || 32 bytes)", of public and secret keys alike. */
static void
put_key(struct buf *out, const struct witness_key *k, const uint8_t bytes[32])
{
	uint8_t blob[33];

	blob[0] = COSIGNATURE_V1;
	memcpy(blob + 1, bytes, 32);
	buf_put_text(out, k->name);
	buf_put_u8(out, '+');
	text_put_hex(out, k->id, sizeof(k->id));
	buf_put_u8(out, '+');
	text_put_base64(out, blob, sizeof(blob));
	crypto_wipe(blob, sizeof(blob));
}

bool
witness_key_make(const char *path, const char *name, char *why, size_t why_len)
{
	uint8_t seed[CRYPTO_SEED_LEN];
	struct witness_key *k;
	struct buf text;
	bool ok;

	if (!witness_name_valid(view_text(name)))
		return fail(name, "not the name of a key", why, why_len);
	crypto_random(seed, sizeof(seed));
	k = key_new(view_text(name), seed);
	buf_init(&text);
	ok = k != NULL && buf_reserve(&text, FILE_MAX);
	if (ok) {
		buf_put_text(&text, PREFIX);
		put_key(&text, k, seed);
		buf_put_u8(&text, '\n');
		ok = !text.failed &&
		    file_create(path, buf_view(&text), 0600) == 0;
	}
	if (!ok)
		fail(path, k == NULL ? "no key could be made" : strerror(errno),
		    why, why_len);
	if (text.data != NULL)
		crypto_wipe(text.data, text.cap);
	crypto_wipe(seed, sizeof(seed));
	buf_release(&text);
	witness_key_free(k);
	return ok;
}

/* The one line of the file. */
static struct witness_key *
parse(struct view text)
{
	const size_t prefix = sizeof(PREFIX) - 1;
	const uint8_t *plus;
	struct witness_key *k = NULL;
	struct view name, rest;
	uint8_t blob[33], id[4];

	if (text.n <= prefix || memcmp(text.p, PREFIX, prefix) != 0 ||
	    text.p[text.n - 1] != '\n')
		return NULL;
	text = view_of(text.p + prefix, text.n - prefix - 1);
	plus = memchr(text.p, '+', text.n);
	if (plus == NULL)
		return NULL;
	name = view_of(text.p, (size_t)(plus - text.p));
	rest = view_of(plus + 1, text.n - name.n - 1);
	if (witness_name_valid(name) && rest.n > ID_TEXT + 1 &&
	    rest.p[ID_TEXT] == '+' &&
	    text_get_hex(view_of(rest.p, ID_TEXT), id, sizeof(id)) &&
	    text_get_base64_fixed(
		view_of(rest.p + ID_TEXT + 1, rest.n - ID_TEXT - 1), blob,
		sizeof(blob)) &&
	    blob[0] == COSIGNATURE_V1)
		k = key_new(name, blob + 1);
	crypto_wipe(blob, sizeof(blob));
	if (k != NULL && memcmp(k->id, id, sizeof(id)) != 0) {
		witness_key_free(k);
		return NULL;
	}
	return k;
}

struct witness_key *
witness_key_load(const char *path, char *why, size_t why_len)
{
	struct witness_key *k = NULL;
	struct buf text;

	buf_init(&text);
	if (!buf_reserve(&text, FILE_MAX + 1) ||
	    file_read(path, FILE_MAX, &text) != 0) {
		fail(path, strerror(errno), why, why_len);
	} else {
		k = parse(buf_view(&text));
		if (k == NULL)
			fail(path, "not the key of a witness", why, why_len);
	}
	if (text.data != NULL)
		crypto_wipe(text.data, text.cap);
	buf_release(&text);
	return k;
}

const char *
witness_key_name(const struct witness_key *k)
{
	return k->name;
}

void
witness_key_put_vkey(const struct witness_key *k, struct buf *out)
{
	put_key(out, k, k->public);
}

bool
witness_key_cosign(
    const struct witness_key *k, struct view body, uint64_t at, struct buf *out)
{
	uint8_t signature[CRYPTO_SIGNATURE_LEN];
	struct buf text;
	bool ok;

	if (at == 0)
		return false;
	buf_init(&text);
	buf_put_text(&text, "cosignature/v1\ntime ");
	buf_put_decimal(&text, at);
	buf_put_u8(&text, '\n');
	buf_put_view(&text, body);
	ok = !text.failed &&
	    crypto_sign(k->secret, text.data, text.len, signature);
	buf_clear(&text);
	if (ok) {
		buf_put(&text, k->id, sizeof(k->id));
		buf_put_u64(&text, at);
		buf_put(&text, signature, sizeof(signature));
		buf_put_text(out, DASH);
		buf_put_text(out, k->name);
		buf_put_u8(out, ' ');
		text_put_base64(out, text.data, text.len);
		buf_put_u8(out, '\n');
		ok = !text.failed && !out->failed;
	}
	buf_release(&text);
	return ok;
}

void
witness_key_free(struct witness_key *k)
{
	if (k == NULL)
		return;
	crypto_key_free(k->secret);
	free(k);
}
