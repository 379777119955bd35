/*
 * A PKCS#11 module that hands every call to another one (WAXSEAL_SHIM_REAL) and misbehaves on command.
 *
 * The file that WAXSEAL_SHIM_CONTROL names is read at each call. Each line is a word, or a word, "=" and a value. What
 * was called is appended to that file's name with ".log", a line for each call.
 *
 *   C_NAME=0xNN          the function returns this code and does nothing else
 *   C_NAME=hang          the function does not go on while the line is there
 *   wedged=0xNN          every function returns this code until C_Finalize was called
 *   wedged-for-good=0xNN every function but C_Initialize and C_Finalize returns this code
 *   sessions=N           no more than N sessions at once
 *   token-flags=0xNN     these flags are set in what C_GetTokenInfo returns
 *   token-error=0xNN     C_GetTokenInfo fails
 *   without=0xNN         C_GetAttributeValue does not know this attribute
 *   iv=silent            AES-GCM encrypts with an IV of its own and does not tell it
 *   iv=told              the same, and writes it into the parameter
 *   iv=appended          the same, and puts it behind the tag
 *   iv=appended-16       the same with an IV of 16 bytes, as far as its length goes
 *   iv=zero-told         AES-GCM takes only an IV of zeros, and writes its own in their place
 *   iv=zero-kept         AES-GCM takes only an IV of zeros, and uses it
 *   size=refused         a call that asks for a length is CKR_ARGUMENTS_BAD
 *   size=ends            a call that asks for a length ends the operation
 *   size=small           a call that asks for a length is told one byte
 *   fork=noticed         in the child of a fork nothing works before C_Initialize
 *
 * WAXSEAL_SHIM_PARAMETERS is given to C_Initialize in the place where NSS looks for it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long CK_ULONG;
typedef CK_ULONG CK_RV;
typedef unsigned char CK_BYTE;

typedef struct { CK_ULONG mechanism; void *parameter; CK_ULONG length; } CK_MECHANISM;
typedef struct { CK_BYTE *iv; CK_ULONG iv_len; CK_ULONG iv_bits; CK_BYTE *aad; CK_ULONG aad_len; CK_ULONG tag_bits; } CK_GCM_PARAMS;
typedef struct { CK_ULONG type; void *value; CK_ULONG length; } CK_ATTRIBUTE;
typedef struct {
    CK_BYTE label[32], manufacturer[32], model[16], serial[16];
    CK_ULONG flags;
    CK_ULONG rest[10];
    CK_BYTE versions[4], time[16];
} CK_TOKEN_INFO;
typedef struct { void *mutexes[4]; CK_ULONG flags; void *parameters_or_reserved; void *reserved; } CK_INITIALIZE_ARGS;

#define FUNCTIONS 68
typedef struct { CK_BYTE major, minor; void *functions[FUNCTIONS]; } CK_FUNCTION_LIST;

#define CKR_OK 0x0UL
#define CKR_ARGUMENTS_BAD 0x7UL
#define CKR_GENERAL_ERROR 0x5UL
#define CKR_ATTRIBUTE_TYPE_INVALID 0x12UL
#define CKR_MECHANISM_PARAM_INVALID 0x71UL
#define CKR_OPERATION_NOT_INITIALIZED 0x91UL
#define CKR_SESSION_COUNT 0xb1UL
#define CKR_CRYPTOKI_NOT_INITIALIZED 0x190UL
#define CKM_AES_GCM 0x1087UL

/* What the functions are called, in the order of the standard. */
static const char *const NAMES[FUNCTIONS] = {
    "C_Initialize", "C_Finalize", "C_GetInfo", "C_GetFunctionList", "C_GetSlotList", "C_GetSlotInfo", "C_GetTokenInfo",
    "C_GetMechanismList", "C_GetMechanismInfo", "C_InitToken", "C_InitPIN", "C_SetPIN", "C_OpenSession",
    "C_CloseSession", "C_CloseAllSessions", "C_GetSessionInfo", "C_GetOperationState", "C_SetOperationState",
    "C_Login", "C_Logout", "C_CreateObject", "C_CopyObject", "C_DestroyObject", "C_GetObjectSize",
    "C_GetAttributeValue", "C_SetAttributeValue", "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal",
    "C_EncryptInit", "C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal", "C_DecryptInit", "C_Decrypt",
    "C_DecryptUpdate", "C_DecryptFinal", "C_DigestInit", "C_Digest", "C_DigestUpdate", "C_DigestKey",
    "C_DigestFinal", "C_SignInit", "C_Sign", "C_SignUpdate", "C_SignFinal", "C_SignRecoverInit", "C_SignRecover",
    "C_VerifyInit", "C_Verify", "C_VerifyUpdate", "C_VerifyFinal", "C_VerifyRecoverInit", "C_VerifyRecover",
    "C_DigestEncryptUpdate", "C_DecryptDigestUpdate", "C_SignEncryptUpdate", "C_DecryptVerifyUpdate",
    "C_GenerateKey", "C_GenerateKeyPair", "C_WrapKey", "C_UnwrapKey", "C_DeriveKey", "C_SeedRandom",
    "C_GenerateRandom", "C_GetFunctionStatus", "C_CancelFunction", "C_WaitForSlotEvent",
};
enum {
    INITIALIZE = 0, FINALIZE = 1, GET_INFO = 2, GET_SLOT_LIST = 4, GET_TOKEN_INFO = 6, OPEN_SESSION = 12,
    CLOSE_SESSION = 13, CLOSE_ALL = 14, SESSION_INFO = 15, LOGIN = 18, CREATE_OBJECT = 20, DESTROY_OBJECT = 22,
    GET_ATTRIBUTE = 24, FIND_INIT = 26, ENCRYPT_INIT = 29, ENCRYPT = 30, DECRYPT_INIT = 33, DECRYPT = 34, WRAP = 60,
    UNWRAP = 61,
};

static CK_FUNCTION_LIST *real;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static CK_ULONG sessions;
static int finalized;
static pid_t owner;
/* For each session, by its number: the IV that was put in the place of the caller's. */
static struct { CK_ULONG session; CK_BYTE iv[12]; int appends; int in_use; } ivs[64];

/* The value of a line of the control file. */
static int told(const char *word, char *value, size_t room) {
    const char *path = getenv("WAXSEAL_SHIM_CONTROL");
    FILE *file = path ? fopen(path, "r") : NULL;
    char line[128];
    size_t length = strlen(word);
    int found = 0;
    if (!file) return 0;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, word, length) && line[length] == '=') {
            snprintf(value, room, "%s", line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static int is(const char *word, const char *expected) {
    char value[64];
    return told(word, value, sizeof value) && !strcmp(value, expected);
}

static void note(const char *name) {
    const char *path = getenv("WAXSEAL_SHIM_CONTROL");
    char log[512];
    FILE *file;
    if (!path) return;
    snprintf(log, sizeof log, "%s.log", path);
    file = fopen(log, "a");
    if (!file) return;
    fprintf(file, "%s\n", name);
    fclose(file);
}

/* Whether a function is to fail, and how. Waits for as long as it is to hang. */
static int fails(int function, CK_RV *code) {
    char value[64];
    note(NAMES[function]);
    while (told(NAMES[function], value, sizeof value)) {
        if (strcmp(value, "hang")) {
            *code = strtoul(value, NULL, 0);
            return 1;
        }
        usleep(5000);
    }
    if (function == INITIALIZE || function == FINALIZE) return 0;
    if (is("fork", "noticed") && owner != getpid()) {
        *code = CKR_CRYPTOKI_NOT_INITIALIZED;
        return 1;
    }
    if (told("wedged-for-good", value, sizeof value)) {
        *code = strtoul(value, NULL, 0);
        return 1;
    }
    if (!told("wedged", value, sizeof value)) {
        finalized = 0;
    } else if (!finalized) {
        *code = strtoul(value, NULL, 0);
        return 1;
    }
    return 0;
}

#define REAL(function, type) ((type)real->functions[function])

typedef CK_RV (*Initialize)(void *);
static CK_RV shim_initialize(void *args) {
    CK_RV code;
    const char *parameters = getenv("WAXSEAL_SHIM_PARAMETERS");
    CK_INITIALIZE_ARGS with;
    if (fails(INITIALIZE, &code)) return code;
    if (is("fork", "noticed") && owner && owner != getpid()) {
        REAL(FINALIZE, Initialize)(NULL);
        sessions = 0;
    }
    if (parameters) {
        memset(&with, 0, sizeof with);
        with.flags = 2;
        with.parameters_or_reserved = (void *)parameters;
        args = &with;
    }
    code = REAL(INITIALIZE, Initialize)(args);
    if (code == CKR_OK) owner = getpid();
    return code;
}

static CK_RV shim_finalize(void *reserved) {
    CK_RV code;
    if (fails(FINALIZE, &code)) return code;
    finalized = 1;
    sessions = 0;
    return REAL(FINALIZE, Initialize)(reserved);
}

typedef CK_RV (*SlotList)(CK_BYTE, CK_ULONG *, CK_ULONG *);
static CK_RV shim_slot_list(CK_BYTE present, CK_ULONG *list, CK_ULONG *count) {
    CK_RV code;
    if (fails(GET_SLOT_LIST, &code)) return code;
    return REAL(GET_SLOT_LIST, SlotList)(present, list, count);
}

typedef CK_RV (*TokenInfo)(CK_ULONG, CK_TOKEN_INFO *);
static CK_RV shim_token_info(CK_ULONG slot, CK_TOKEN_INFO *info) {
    char value[64];
    CK_RV code;
    if (fails(GET_TOKEN_INFO, &code)) return code;
    if (told("token-error", value, sizeof value)) return strtoul(value, NULL, 0);
    code = REAL(GET_TOKEN_INFO, TokenInfo)(slot, info);
    if (code == CKR_OK && told("token-flags", value, sizeof value)) info->flags |= strtoul(value, NULL, 0);
    return code;
}

typedef CK_RV (*OpenSession)(CK_ULONG, CK_ULONG, void *, void *, CK_ULONG *);
static CK_RV shim_open(CK_ULONG slot, CK_ULONG flags, void *application, void *notify, CK_ULONG *session) {
    char value[64];
    CK_RV code;
    if (fails(OPEN_SESSION, &code)) return code;
    pthread_mutex_lock(&lock);
    if (told("sessions", value, sizeof value) && sessions >= strtoul(value, NULL, 0)) {
        code = CKR_SESSION_COUNT;
    } else {
        code = REAL(OPEN_SESSION, OpenSession)(slot, flags, application, notify, session);
        if (code == CKR_OK) sessions++;
    }
    pthread_mutex_unlock(&lock);
    return code;
}

typedef CK_RV (*One)(CK_ULONG);
static CK_RV shim_close(CK_ULONG session) {
    CK_RV code;
    if (fails(CLOSE_SESSION, &code)) return code;
    pthread_mutex_lock(&lock);
    code = REAL(CLOSE_SESSION, One)(session);
    if (code == CKR_OK && sessions > 0) sessions--;
    pthread_mutex_unlock(&lock);
    return code;
}

typedef CK_RV (*Two)(CK_ULONG, void *);
static CK_RV shim_session_info(CK_ULONG session, void *info) {
    CK_RV code;
    return fails(SESSION_INFO, &code) ? code : REAL(SESSION_INFO, Two)(session, info);
}

typedef CK_RV (*Login)(CK_ULONG, CK_ULONG, CK_BYTE *, CK_ULONG);
static CK_RV shim_login(CK_ULONG session, CK_ULONG user, CK_BYTE *pin, CK_ULONG length) {
    CK_RV code;
    return fails(LOGIN, &code) ? code : REAL(LOGIN, Login)(session, user, pin, length);
}

typedef CK_RV (*Create)(CK_ULONG, void *, CK_ULONG, CK_ULONG *);
static CK_RV shim_create(CK_ULONG session, void *template, CK_ULONG count, CK_ULONG *object) {
    CK_RV code;
    return fails(CREATE_OBJECT, &code) ? code : REAL(CREATE_OBJECT, Create)(session, template, count, object);
}

typedef CK_RV (*Destroy)(CK_ULONG, CK_ULONG);
static CK_RV shim_destroy(CK_ULONG session, CK_ULONG object) {
    CK_RV code;
    return fails(DESTROY_OBJECT, &code) ? code : REAL(DESTROY_OBJECT, Destroy)(session, object);
}

typedef CK_RV (*GetAttribute)(CK_ULONG, CK_ULONG, CK_ATTRIBUTE *, CK_ULONG);
static CK_RV shim_attribute(CK_ULONG session, CK_ULONG object, CK_ATTRIBUTE *wanted, CK_ULONG count) {
    char value[64];
    CK_RV code;
    CK_ULONG i, without;
    if (fails(GET_ATTRIBUTE, &code)) return code;
    code = REAL(GET_ATTRIBUTE, GetAttribute)(session, object, wanted, count);
    if (!told("without", value, sizeof value)) return code;
    without = strtoul(value, NULL, 0);
    for (i = 0; i < count; i++) {
        if (wanted[i].type == without) {
            wanted[i].length = (CK_ULONG)-1;
            code = CKR_ATTRIBUTE_TYPE_INVALID;
        }
    }
    return code;
}

typedef CK_RV (*FindInit)(CK_ULONG, void *, CK_ULONG);
static CK_RV shim_find(CK_ULONG session, void *template, CK_ULONG count) {
    CK_RV code;
    return fails(FIND_INIT, &code) ? code : REAL(FIND_INIT, FindInit)(session, template, count);
}

static int place(CK_ULONG session) {
    int i;
    for (i = 0; i < 64; i++) if (ivs[i].in_use && ivs[i].session == session) return i;
    return -1;
}

typedef CK_RV (*CryptInit)(CK_ULONG, CK_MECHANISM *, CK_ULONG);
static CK_RV shim_encrypt_init(CK_ULONG session, CK_MECHANISM *mechanism, CK_ULONG key) {
    static CK_BYTE counter;
    char value[64];
    CK_BYTE own[12];
    CK_MECHANISM other;
    CK_GCM_PARAMS params, *given;
    CK_RV code;
    int i, zero = 1;
    if (fails(ENCRYPT_INIT, &code)) return code;
    if (mechanism->mechanism != CKM_AES_GCM || !told("iv", value, sizeof value)) {
        return REAL(ENCRYPT_INIT, CryptInit)(session, mechanism, key);
    }
    given = mechanism->parameter;
    for (i = 0; i < 12; i++) zero &= given->iv[i] == 0;
    if (!strncmp(value, "zero", 4) && !zero) return CKR_MECHANISM_PARAM_INVALID;
    if (!strcmp(value, "zero-kept")) return REAL(ENCRYPT_INIT, CryptInit)(session, mechanism, key);
    pthread_mutex_lock(&lock);
    memset(own, 0xa5, sizeof own);
    own[11] = ++counter;
    params = *given;
    params.iv = own;
    other = *mechanism;
    other.parameter = &params;
    code = REAL(ENCRYPT_INIT, CryptInit)(session, &other, key);
    if (code == CKR_OK && (!strcmp(value, "told") || !strcmp(value, "zero-told"))) memcpy(given->iv, own, 12);
    if (code == CKR_OK && !strncmp(value, "appended", 8)) {
        for (i = 0; i < 63 && ivs[i].in_use; i++) {}
        ivs[i].session = session;
        ivs[i].in_use = 1;
        ivs[i].appends = strcmp(value, "appended") ? 16 : 12;
        memcpy(ivs[i].iv, own, 12);
    }
    pthread_mutex_unlock(&lock);
    return code;
}

/* Whether a call that asks for a length is answered here. */
static int sized(const void *out, CK_ULONG *length, CK_RV *code) {
    char value[64];
    if (out || !told("size", value, sizeof value)) return 0;
    if (!strcmp(value, "refused")) { *code = CKR_ARGUMENTS_BAD; return 1; }
    if (!strcmp(value, "small")) { *length = 1; *code = CKR_OK; return 1; }
    return 0;
}

typedef CK_RV (*Crypt)(CK_ULONG, CK_BYTE *, CK_ULONG, CK_BYTE *, CK_ULONG *);
/* A call that asks for a length and ends the operation. */
static CK_RV ends(CK_RV code, const void *out, Crypt call, CK_ULONG session, CK_BYTE *in, CK_ULONG length) {
    CK_BYTE rest[4096];
    CK_ULONG room = sizeof rest;
    if (code == CKR_OK && !out && is("size", "ends")) call(session, in, length, rest, &room);
    return code;
}

static CK_RV shim_encrypt(CK_ULONG session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
    CK_RV code;
    CK_ULONG room;
    int at;
    if (!out) note("C_Encrypt?");
    if (fails(ENCRYPT, &code)) return code;
    if (sized(out, out_len, &code)) return code;
    pthread_mutex_lock(&lock);
    at = place(session);
    pthread_mutex_unlock(&lock);
    room = *out_len;
    code = REAL(ENCRYPT, Crypt)(session, in, in_len, out, out_len);
    code = ends(code, out, REAL(ENCRYPT, Crypt), session, in, in_len);
    if (code == CKR_OK && at >= 0) {
        if (out && *out_len + ivs[at].appends > room) return 0x150;
        if (out) {
            memset(out + *out_len, 0, ivs[at].appends);
            memcpy(out + *out_len, ivs[at].iv, 12);
            ivs[at].in_use = 0;
        }
        *out_len += ivs[at].appends;
    }
    return code;
}

static CK_RV shim_decrypt_init(CK_ULONG session, CK_MECHANISM *mechanism, CK_ULONG key) {
    CK_RV code;
    return fails(DECRYPT_INIT, &code) ? code : REAL(DECRYPT_INIT, CryptInit)(session, mechanism, key);
}

static CK_RV shim_decrypt(CK_ULONG session, CK_BYTE *in, CK_ULONG in_len, CK_BYTE *out, CK_ULONG *out_len) {
    CK_RV code;
    if (!out) note("C_Decrypt?");
    if (fails(DECRYPT, &code)) return code;
    if (sized(out, out_len, &code)) return code;
    code = REAL(DECRYPT, Crypt)(session, in, in_len, out, out_len);
    return ends(code, out, REAL(DECRYPT, Crypt), session, in, in_len);
}

typedef CK_RV (*Wrap)(CK_ULONG, CK_MECHANISM *, CK_ULONG, CK_ULONG, CK_BYTE *, CK_ULONG *);
static CK_RV shim_wrap(CK_ULONG session, CK_MECHANISM *mechanism, CK_ULONG by, CK_ULONG key, CK_BYTE *out, CK_ULONG *len) {
    CK_RV code;
    if (!out) note("C_WrapKey?");
    if (fails(WRAP, &code)) return code;
    if (sized(out, len, &code)) return code;
    return REAL(WRAP, Wrap)(session, mechanism, by, key, out, len);
}

typedef CK_RV (*Unwrap)(CK_ULONG, CK_MECHANISM *, CK_ULONG, CK_BYTE *, CK_ULONG, void *, CK_ULONG, CK_ULONG *);
static CK_RV shim_unwrap(CK_ULONG session, CK_MECHANISM *mechanism, CK_ULONG by, CK_BYTE *wrapped, CK_ULONG len,
                         void *template, CK_ULONG count, CK_ULONG *key) {
    CK_RV code;
    if (fails(UNWRAP, &code)) return code;
    return REAL(UNWRAP, Unwrap)(session, mechanism, by, wrapped, len, template, count, key);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list) {
    static CK_FUNCTION_LIST ours;
    typedef CK_RV (*GetList)(CK_FUNCTION_LIST **);
    const char *path = getenv("WAXSEAL_SHIM_REAL");
    void *module;
    GetList get;
    pthread_mutex_lock(&lock);
    if (!real) {
        module = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        get = module ? (GetList)dlsym(module, "C_GetFunctionList") : NULL;
        if (!get || get(&real) != CKR_OK) {
            pthread_mutex_unlock(&lock);
            return CKR_GENERAL_ERROR;
        }
        ours = *real;
        ours.functions[INITIALIZE] = (void *)shim_initialize;
        ours.functions[FINALIZE] = (void *)shim_finalize;
        ours.functions[GET_SLOT_LIST] = (void *)shim_slot_list;
        ours.functions[GET_TOKEN_INFO] = (void *)shim_token_info;
        ours.functions[OPEN_SESSION] = (void *)shim_open;
        ours.functions[CLOSE_SESSION] = (void *)shim_close;
        ours.functions[SESSION_INFO] = (void *)shim_session_info;
        ours.functions[LOGIN] = (void *)shim_login;
        ours.functions[CREATE_OBJECT] = (void *)shim_create;
        ours.functions[DESTROY_OBJECT] = (void *)shim_destroy;
        ours.functions[GET_ATTRIBUTE] = (void *)shim_attribute;
        ours.functions[FIND_INIT] = (void *)shim_find;
        ours.functions[ENCRYPT_INIT] = (void *)shim_encrypt_init;
        ours.functions[ENCRYPT] = (void *)shim_encrypt;
        ours.functions[DECRYPT_INIT] = (void *)shim_decrypt_init;
        ours.functions[DECRYPT] = (void *)shim_decrypt;
        ours.functions[WRAP] = (void *)shim_wrap;
        ours.functions[UNWRAP] = (void *)shim_unwrap;
    }
    *list = &ours;
    pthread_mutex_unlock(&lock);
    return CKR_OK;
}
