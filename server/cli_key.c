#include "server/cli_key.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "base/crypto.h"
#include "base/text.h"
#include "compliance/chain.h"
#include "compliance/scan.h"
#include "server/cli.h"

#define GROUPS 6 /* of five digits */
#define GROUP_BYTES 5

/* What a person can read aloud: digits of the genesis vkey's SHA-256. */
static void
put_fingerprint(const char *vkey, struct buf *out)
{
	struct view text = view_text(vkey);
	uint8_t hash[CRYPTO_SHA256_LEN];

	crypto_sha256(text.p, text.n, hash);
	for (unsigned g = 0; g < GROUPS; g++) {
		uint64_t n = 0;

		for (unsigned i = 0; i < GROUP_BYTES; i++)
			n = n << 8 | hash[g * GROUP_BYTES + i];
		buf_printf(out, "%s%05" PRIu64, g > 0 ? " " : "", n % 100000);
	}
}

static json_t *
describe(struct scan *s)
{
	static const uint8_t none[CRYPTO_SHA256_LEN];
	struct buf first, now, next, spoken;
	struct chain_epoch epoch, genesis;
	json_t *o = NULL;

	buf_init(&first);
	buf_init(&now);
	buf_init(&next);
	buf_init(&spoken);
	if (chain_newest(s, &epoch, &now) == 0 &&
	    chain_genesis(s, &genesis, &first) == 0 &&
	    buf_text(&first) != NULL) {
		if (memcmp(epoch.next, none, sizeof none) != 0)
			text_put_hex(&next, epoch.next, sizeof epoch.next);
		put_fingerprint(buf_text(&first), &spoken);
		o = json_pack("{s:I,s:I,s:s,s:s,s:s,s:s?}", "epoch",
		    (json_int_t)epoch.epoch, "seq", (json_int_t)epoch.seq,
		    "vkey", buf_text(&now), "genesis", buf_text(&first),
		    "fingerprint", buf_text(&spoken), "next",
		    next.len > 0 ? buf_text(&next) : NULL);
	}
	buf_release(&first);
	buf_release(&now);
	buf_release(&next);
	buf_release(&spoken);
	return o;
}

static void
show(const json_t *o)
{
	static const struct {
		const char *name, *title;
	} lines[] = {
	    {"vkey", "key now"},
	    {"next", "next (digest)"},
	    {"genesis", "genesis key"},
	    {"fingerprint", "fingerprint"},
	};

	(void)printf("%-14s %lld, from record %lld\n", "epoch",
	    (long long)json_integer_value(json_object_get(o, "epoch")),
	    (long long)json_integer_value(json_object_get(o, "seq")));
	for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
		const json_t *value = json_object_get(o, lines[i].name);

		(void)printf("%-14s %s\n", lines[i].title,
		    json_is_null(value) ? "not announced yet"
					: json_string_value(value));
	}
}

int
cli_key_show(struct cli *cli)
{
	char *path = conf_state_path(cli->conf, "journal/journal.db");
	char why[CLI_WHY_LEN] = "out of memory";
	struct scan *s =
	    path == NULL ? NULL : scan_open(path, true, why, sizeof why);
	json_t *o = s == NULL ? NULL : describe(s);

	if (s == NULL)
		cli_complain("key: %s", why);
	else if (o == NULL)
		cli_complain("key: %s", scan_error(s));
	else if (cli->json)
		cli_print(o);
	else
		show(o);
	scan_close(s);
	free(path);
	if (o == NULL)
		return EXIT_SYSTEM;
	json_decref(o);
	return EXIT_WELL;
}

static void
show_turned(const json_t *o)
{
	(void)printf("epoch %lld began with record %lld; its key is\n%s\n",
	    (long long)json_integer_value(json_object_get(o, "epoch")),
	    (long long)json_integer_value(json_object_get(o, "seq")),
	    json_string_value(json_object_get(o, "vkey")));
}

int
cli_key_rotate(struct cli *cli)
{
	return cli_show(cli, "key.rotate",
	    json_pack("{s:b}", "compromised", cli->compromised), "key",
	    show_turned);
}
