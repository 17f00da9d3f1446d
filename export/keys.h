#ifndef EXPORT_KEYS_H
#define EXPORT_KEYS_H

/* chancery-export keys: the key chain of a journal. An exit status. */
int keys_main(int argc, char **argv);

#endif
