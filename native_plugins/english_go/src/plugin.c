/* Go has no words for the note and the vtable: the contract's macro has. */
#include "_cgo_export.h"

GREETER_PLUGIN("english", "1.0.0", .greet = english_greet, .lang = english_lang);
