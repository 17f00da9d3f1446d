#include "base/conf_value.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

bool
conf_value_is_name(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && n <= 32 &&
	    strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

char *
conf_value_copy(const char *s, bool *ok)
{
	char *c = s != NULL ? strdup(s) : NULL;

	if (s != NULL && c == NULL)
		*ok = false;
	return c;
}

char *
conf_value_path(const char *base, const char *s, bool *ok)
{
	char *path = s != NULL ? file_join(base, s) : NULL;

	if (s != NULL && path == NULL)
		*ok = false;
	return path;
}

bool
conf_value_check_file(const struct conf *c, int line, const char *path,
    int access_mode, struct buf *errors)
{
	if (path == NULL || access(path, access_mode) == 0)
		return true;
	buf_printf(
	    errors, "%s:%d: %s: %s\n", c->path, line, path, strerror(errno));
	return false;
}

void
conf_value_print(
    struct buf *out, const char *indent, const char *key, const char *value)
{
	if (value == NULL)
		return;
	buf_printf(out, "%s%s = \"", indent, key);
	for (const char *p = value; *p != '\0'; p++) {
		/* A "${NAME}" would be the environment's. */
		if (*p == '"' || *p == '\\' || *p == '$')
			buf_put_u8(out, '\\');
		buf_put_u8(out, (uint8_t)*p);
	}
	buf_put_text(out, "\"\n");
}
