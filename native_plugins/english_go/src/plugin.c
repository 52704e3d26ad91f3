/* Defines the note and the vtable with the contract's macro, since Go cannot express them. */
#include "_cgo_export.h"

GREETER_PLUGIN("english", "1.0.0", .greet = english_greet, .lang = english_lang);
