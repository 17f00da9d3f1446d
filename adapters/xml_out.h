#ifndef ADAPTERS_XML_OUT_H
#define ADAPTERS_XML_OUT_H

/*
 * An XML file written front to back: libxml2's writer over an output. All
 * content is in attributes; see xml_out_text() for what becomes of
 * characters that XML cannot hold.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libxml/xmlwriter.h>

#include "adapters/output.h"
#include "base/buf.h"

struct xml_out {
	struct output file;
	xmlTextWriterPtr writer;
	bool failed; /* libxml2 ran out of memory */
	struct buf text;
};

/* Opens the file and writes the XML declaration. 0 or -1 with errno. */
int xml_out_open(struct xml_out *x, const char *path);
/* Failures of these five are kept for xml_out_commit(). */
void xml_out_start(struct xml_out *x, const char *element);
void xml_out_end(struct xml_out *x);
/*
 * An attribute. The value is UTF-8; TAB, CR and LF become character
 * references and so survive parsing; characters that XML 1.0 forbids become
 * U+FFFD.
 */
void xml_out_text(struct xml_out *x, const char *name, struct view value);
void xml_out_number(struct xml_out *x, const char *name, uint64_t value);
void xml_out_base64(struct xml_out *x, const char *name, struct view bytes);
/* As output_commit(); also fails when anything before failed. */
int xml_out_commit(
    struct xml_out *x, uint8_t sha256[CRYPTO_SHA256_LEN], uint64_t *bytes);
/* Removes what was written; for any state after xml_out_open(). */
void xml_out_discard(struct xml_out *x);

#endif
