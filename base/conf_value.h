#ifndef BASE_CONF_VALUE_H
#define BASE_CONF_VALUE_H

/* Inside of conf: values of any section, read, checked and printed. */

#include <stdbool.h>

#include "base/buf.h"
#include "base/conf.h"

/* 1 to 32 of a-z, 0-9 and -. */
bool conf_value_is_name(const char *s);
/* A copy of an optional string; *ok becomes false when memory is out. */
char *conf_value_copy(const char *s, bool *ok);
/* The same of a path, which is relative to the folder base. */
char *conf_value_path(const char *base, const char *s, bool *ok);
/* Whether an optional file can be used in that way (access(2)). */
bool conf_value_check_file(const struct conf *c, int line, const char *path,
    int access_mode, struct buf *errors);
/* An optional string as libconfuse reads it back. */
void conf_value_print(
    struct buf *out, const char *indent, const char *key, const char *value);

#endif
