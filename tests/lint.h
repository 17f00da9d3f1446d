#ifndef TESTS_LINT_H
#define TESTS_LINT_H

/*
 * For cppcheck alone, which reads no header of a library: what it must know
 * of macros, and that log_fatal() does not return.
 */

#define log_fatal(...) abort()
#define json_array_foreach(a, i, v)                                            \
	for (i = 0; (v = json_array_get(a, i)) != NULL; i++)
#define json_object_foreach(o, k, v)                                           \
	while (                                                                \
	    (k = json_next(o)) != NULL && (v = json_object_get(o, k)) != NULL)

#endif
