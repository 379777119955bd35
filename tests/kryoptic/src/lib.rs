//! Makes a module that can be loaded of kryoptic, which is a library: exports the ways in.
#![allow(non_snake_case, reason = "PKCS#11 names its functions so")]

use kryoptic_lib::fns::general;
use kryoptic_lib::pkcs11 as ck;

/// PKCS#11 2.40 and before.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetFunctionList(list: ck::CK_FUNCTION_LIST_PTR_PTR) -> ck::CK_RV {
    general::fn_get_function_list(list)
}

/// PKCS#11 3.0 and after: one interface.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetInterface(
    name: ck::CK_UTF8CHAR_PTR,
    version: ck::CK_VERSION_PTR,
    interface: ck::CK_INTERFACE_PTR_PTR,
    flags: ck::CK_FLAGS,
) -> ck::CK_RV {
    general::fn_get_interface(name, version, interface, flags)
}

/// PKCS#11 3.0 and after: all interfaces.
#[unsafe(no_mangle)]
pub extern "C" fn C_GetInterfaceList(list: ck::CK_INTERFACE_PTR, count: ck::CK_ULONG_PTR) -> ck::CK_RV {
    general::fn_get_interface_list(list, count)
}
