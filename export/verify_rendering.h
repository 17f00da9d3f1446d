#ifndef EXPORT_VERIFY_RENDERING_H
#define EXPORT_VERIFY_RENDERING_H

/*
 * The readable part of a compliance XML archive against its evidence: every
 * room, message, sender and time is what the payloads say, nothing more and
 * nothing less. chancery-adapter(7).
 */

#include <libxml/xmlreader.h>
#include <stdbool.h>
#include <stdint.h>

#include "export/verify_records.h"
#include "export/verify_report.h"

struct verify_rendering;

/* NULL when out of memory. extended: with attributes of our namespace. */
struct verify_rendering *verify_rendering_new(
    bool extended, struct verify_report *r);
/* Takes a record of the evidence up; a verify_record_cb. */
void verify_rendering_expect(
    void *arg, const struct verify_record *rec, uint64_t at);
/* Takes all records as given; the rendering is read next. */
void verify_rendering_ready(struct verify_rendering *v);
/* An element of the rendering begins, or (end) ends. */
void verify_rendering_element(
    struct verify_rendering *v, xmlTextReaderPtr xml, bool end);
/* The rendering is over: nothing may be left out. */
void verify_rendering_finish(struct verify_rendering *v);
/* NULL is allowed. */
void verify_rendering_free(struct verify_rendering *v);

#endif
