/*
 * Archives each batch as Persistent Chat compliance XML. By default one file
 * NAME.xml holds the rendering and, in a namespace of its own, the evidence;
 * with strict NAME.xml keeps to the published schema and NAME.evidence.xml
 * stands beside it. chancery-adapter(7).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "adapters/compliance_xml.h"
#include "adapters/evidence_xml.h"
#include "adapters/filing.h"
#include "base/file.h"

#define SIDE_CAR_SUFFIX ".evidence.xml"
#define RENDERING_SUFFIX ".xml"

static void
start_conversations(struct xml_out *x, bool strict)
{
	xml_out_start(x, "Conversations");
	xml_out_text(x, "xmlns:xsi",
	    view_text("http://www.w3.org/2001/XMLSchema-instance"));
	xml_out_text(
	    x, "xmlns:xsd", view_text("http://www.w3.org/2001/XMLSchema"));
	if (!strict)
		xml_out_text(x, "xmlns:c", view_text(COMPLIANCE_XML_NS));
}

/* Ends the file that `ok` tells whether it was written well. */
static bool
finish(struct adapter *a, struct xml_out *x, bool ok, const char *path,
    struct adapter_receipt *r)
{
	if (!ok) {
		xml_out_discard(x);
		return false;
	}
	return xml_out_commit(x, r->sha256, &r->bytes) == 0 ||
	    adapter_fail(a, "%s: %s", path, strerror(errno));
}

static bool
write_whole(struct adapter *a, const struct adapter_config *c,
    const struct adapter_batch *b, struct spool *s, const char *path,
    struct adapter_receipt *r)
{
	struct xml_out x;
	bool ok;

	if (xml_out_open(&x, path) != 0)
		return adapter_fail(a, "%s: %s", path, strerror(errno));
	start_conversations(&x, false);
	ok = compliance_xml_put(a, &x, s, false) &&
	    evidence_xml_put(a, &x, c, b, s, NULL);
	xml_out_end(&x);
	return finish(a, &x, ok, path, r);
}

static bool
write_rendering(struct adapter *a, struct spool *s, const char *path,
    struct adapter_receipt *r)
{
	struct xml_out x;
	bool ok;

	if (xml_out_open(&x, path) != 0)
		return adapter_fail(a, "%s: %s", path, strerror(errno));
	start_conversations(&x, true);
	ok = compliance_xml_put(a, &x, s, true);
	xml_out_end(&x);
	return finish(a, &x, ok, path, r);
}

/*
 * The side-car comes last and holds the rendering's hash: where it is, the
 * rendering was stored.
 */
static bool
write_strict(struct adapter *a, const struct adapter_config *c,
    const struct adapter_batch *b, struct spool *s, const char *path,
    struct adapter_receipt *r)
{
	size_t stem = strlen(path) - strlen(SIDE_CAR_SUFFIX);
	struct evidence_rendering rendering;
	struct xml_out x;
	struct buf name;
	const char *slash;
	bool ok;

	buf_init(&name);
	buf_put(&name, path, stem);
	buf_put_text(&name, RENDERING_SUFFIX);
	if (buf_text(&name) == NULL)
		return adapter_fail(a, "out of memory");
	ok = write_rendering(a, s, buf_text(&name), r);
	if (ok && xml_out_open(&x, path) != 0)
		ok = adapter_fail(a, "%s: %s", path, strerror(errno));
	if (ok) {
		slash = strrchr(buf_text(&name), '/');
		rendering.name = slash == NULL ? buf_text(&name) : slash + 1;
		memcpy(rendering.sha256, r->sha256, sizeof rendering.sha256);
		ok = evidence_xml_put(a, &x, c, b, s, &rendering);
		ok = finish(a, &x, ok, path, r);
	}
	buf_release(&name);
	return ok;
}

static const struct filing_format whole = {
    .suffix = RENDERING_SUFFIX,
    .write = write_whole,
    .read = evidence_xml_read,
};

static const struct filing_format strict = {
    .suffix = SIDE_CAR_SUFFIX,
    .write = write_strict,
    .read = evidence_xml_read,
};

static bool
configure(void *self, struct adapter *a, const struct adapter_config *c,
    struct adapter_offer *offer)
{
	struct filing *r = self;

	r->format = c->strict ? &strict : &whole;
	return filing_configure(self, a, c, offer);
}

int
main(void)
{
	static const struct adapter_ops ops = {
	    .program = "xml",
	    .configure = configure,
	    .begin = filing_begin,
	    .event = filing_event,
	    .end = filing_end,
	    .abandon = filing_abandon,
	    .readback = filing_readback,
	};
	struct filing self = {.format = NULL};

	return adapter_main(&ops, &self);
}
