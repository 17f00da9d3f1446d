#include "compliance/signer_look.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/text.h"

#include "compliance/note.h"
#include "compliance/signer.h"

#define FILE_MAX 4096

/* 1, 0 when there is no such file, -1. */
static int
read_file(const char *dir, const char *name, struct buf *out, char *why,
    size_t why_len)
{
	char *path = file_join(dir, name);
	int r = 1;

	if (path == NULL) {
		(void)snprintf(why, why_len, "out of memory");
		return -1;
	}
	/* In one piece: a buffer that grows leaves copies of a key behind. */
	if (!buf_reserve(out, FILE_MAX + 32768)) {
		r = -1;
		(void)snprintf(why, why_len, "out of memory");
	} else if (file_read(path, FILE_MAX, out) != 0) {
		r = errno == ENOENT ? 0 : -1;
		(void)snprintf(why, why_len, "%s: %s", path, strerror(errno));
	}
	free(path);
	return r;
}

/* The first `lines` lines with their LFs; empty when there are fewer. */
static struct view
head_of(struct view text, unsigned lines)
{
	size_t n = 0;

	while (lines > 0 && n < text.n)
		if (text.p[n++] == '\n')
			lines--;
	return view_of(text.p, lines == 0 ? n : 0);
}

static int
misread(const char *dir, const char *name, char *why, size_t why_len)
{
	(void)snprintf(why, why_len, "%s/%s: damaged", dir, name);
	return -1;
}

static int
look_key(const char *dir, struct signer_seen *out, char *why, size_t why_len)
{
	uint8_t seed[CRYPTO_SEED_LEN], public[CRYPTO_PUBLIC_LEN];
	struct crypto_key *key = NULL;
	struct buf text, vkey;
	struct view line, name;
	uint32_t id;
	int r;

	buf_init(&text);
	buf_init(&vkey);
	r = read_file(dir, "key", &text, why, why_len);
	if (r != 1)
		goto done;
	line = head_of(buf_view(&text), 1);
	if (line.n == 0 ||
	    !note_parse_skey(view_of(line.p, line.n - 1), &name, &id, seed) ||
	    (key = crypto_key_new(seed)) == NULL) {
		r = misread(dir, "key", why, why_len);
		goto done;
	}
	crypto_key_public(key, public);
	note_put_vkey(&vkey, name, public);
	if (buf_text(&vkey) == NULL || vkey.len >= sizeof out->vkey) {
		r = misread(dir, "key", why, why_len);
		goto done;
	}
	(void)snprintf(out->vkey, sizeof out->vkey, "%s", buf_text(&vkey));
	(void)snprintf(out->origin, sizeof out->origin, "%.*s", (int)name.n,
	    (const char *)name.p);
	out->key = true;
done:
	crypto_wipe(seed, sizeof seed);
	if (text.data != NULL)
		crypto_wipe(text.data, text.cap);
	crypto_key_free(key);
	buf_release(&vkey);
	buf_release(&text);
	return r < 0 ? -1 : 0;
}

static int
look_state(const char *dir, struct signer_seen *out, char *why, size_t why_len)
{
	struct note body;
	struct buf text;
	int r;

	buf_init(&text);
	r = read_file(dir, "state", &text, why, why_len);
	if (r == 1 &&
	    (!note_parse_body(head_of(buf_view(&text), 3), &body) ||
		(out->key && !view_is(body.origin, out->origin))))
		r = misread(dir, "state", why, why_len);
	if (r == 1) {
		out->state = true;
		out->size = body.size;
		memcpy(out->root, body.root, sizeof out->root);
		(void)snprintf(out->origin, sizeof out->origin, "%.*s",
		    (int)body.origin.n, (const char *)body.origin.p);
	}
	buf_release(&text);
	return r < 0 ? -1 : 0;
}

int
signer_look(const char *dir, struct signer_seen *out, char *why, size_t why_len)
{
	memset(out, 0, sizeof *out);
	if (look_key(dir, out, why, why_len) != 0)
		return -1;
	return look_state(dir, out, why, why_len);
}

int
signer_put_state(const char *dir, const char *origin, uint64_t size,
    const uint8_t root[32], char *why, size_t why_len)
{
	char *path = file_join(dir, "state");
	struct buf body;
	int r = -1;

	buf_init(&body);
	note_put_body(&body, view_text(origin), size, root);
	signer_put_machine(&body);
	if (path == NULL || body.failed)
		(void)snprintf(why, why_len, "out of memory");
	else if (file_create(path, buf_view(&body), 0600) != 0)
		(void)snprintf(why, why_len, "%s: %s", path, strerror(errno));
	else
		r = 0;
	buf_release(&body);
	free(path);
	return r;
}

void
signer_look_next(const char *dir, char out[65])
{
	uint8_t seed[CRYPTO_SEED_LEN], digest[CRYPTO_SHA256_LEN];
	uint8_t public[CRYPTO_PUBLIC_LEN];
	struct crypto_key *key = NULL;
	struct view line, name;
	struct buf text, hex;
	char why[128];
	uint32_t id;

	(void)snprintf(out, 65, "-");
	buf_init(&text);
	buf_init(&hex);
	if (read_file(dir, "next", &text, why, sizeof why) == 1 &&
	    (line = head_of(buf_view(&text), 1)).n > 0 &&
	    note_parse_skey(view_of(line.p, line.n - 1), &name, &id, seed) &&
	    (key = crypto_key_new(seed)) != NULL) {
		crypto_key_public(key, public);
		crypto_sha256(public, sizeof public, digest);
		text_put_hex(&hex, digest, sizeof digest);
		if (buf_text(&hex) != NULL)
			memcpy(out, buf_text(&hex), 65);
	}
	crypto_wipe(seed, sizeof seed);
	if (text.data != NULL)
		crypto_wipe(text.data, text.cap);
	crypto_key_free(key);
	buf_release(&hex);
	buf_release(&text);
}
