/*
 * The verifier's JSON scanner beside jansson: what the scanner takes is a
 * JSON object, and what it picks out is what jansson finds.
 */

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "export/verify_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool truth)
{
	if (!truth)
		abort();
}

/* Equal where the text holds no escapes, which the scanner leaves in place. */
static void
same(struct view v, const json_t *s)
{
	if (v.p == NULL || memchr(v.p, '\\', v.n) != NULL)
		return;
	require(json_is_string(s) && json_string_length(s) == v.n &&
	    memcmp(json_string_value(s), v.p, v.n) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct verify_json found;
	const char *why = NULL;
	json_t *o;
	bool taken = verify_json_scan(view_of(data, size), &found, &why);

	require(taken || why != NULL);
	if (!taken)
		return 0;
	o = json_loadb((const char *)data, size, JSON_ALLOW_NUL, NULL);
	require(json_is_object(o));
	if (memchr(data, '\\', size) == NULL) {
		same(found.type, json_object_get(o, "type"));
		same(found.id, json_object_get(o, "id"));
		same(found.client, json_object_get(o, "client"));
	}
	json_decref(o);
	return 0;
}
