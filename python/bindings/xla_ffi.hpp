// The part of XLA's foreign function interface that handlers on a CPU need, so that no header of XLA is.
//
// Layouts are those of xla/ffi/api/c_api.h, which jaxlib ships (jax.ffi.include_dir()) and which says what every field
// means; names are this library's. They are the same from version 0.1 to 0.3 of the interface.
// tests/python/test_jax.py compares them with the header of the installed jaxlib.
#pragma once

#include <cstddef>
#include <cstdint>

namespace logitloss::xla {

constexpr int major_version = 0;
constexpr int oldest_minor_version = 1;
constexpr int newest_minor_version = 3;

/// Something optional that is chained to a struct.
struct Extension {
    std::size_t struct_size;
    int type;
    Extension* next;
};
constexpr int metadata_extension = 1;

struct Version {
    std::size_t struct_size;
    Extension* extensions;
    int major, minor;
};

struct Error;  // XLA's own

constexpr int invalid_argument = 3;  ///< error codes are those of Abseil
constexpr int unimplemented = 12;
constexpr int internal = 13;

struct ErrorArguments {
    std::size_t struct_size;
    Extension* extensions;
    const char* message;  ///< which XLA copies
    int code;
};

/// What XLA offers to handlers; there is more behind the last field.
struct Api {
    std::size_t struct_size;
    Extension* extensions;
    Version version;
    const void* internals;
    Error* (*create_error)(ErrorArguments*);
};

/// Element types, numbered as in xla_data.proto.
enum class Type : int {
    boolean = 1,
    int8 = 2,
    int16 = 3,
    int32 = 4,
    int64 = 5,
    uint8 = 6,
    uint16 = 7,
    uint32 = 8,
    uint64 = 9,
    float16 = 10,
    float32 = 11,
    float64 = 12,
    bfloat16 = 16,
};

/// A dense array, the last axis running fastest.
struct Buffer {
    std::size_t struct_size;
    Extension* extensions;
    Type type;
    void* data;
    std::int64_t rank;
    std::int64_t* lengths;
};
constexpr int is_buffer = 1;

/// Arguments, or results.
struct Operands {
    std::size_t struct_size;
    Extension* extensions;
    std::int64_t size;
    const int* kinds;
    void** values;
};

struct Text {
    const char* data;
    std::size_t size;
};

struct Scalar {
    Type type;
    void* value;
};
constexpr int is_scalar = 3;

/// Sorted by name.
struct Attributes {
    std::size_t struct_size;
    Extension* extensions;
    std::int64_t size;
    const int* kinds;
    Text** names;
    void** values;
};

constexpr int execute_stage = 3;

/// What a handler is called with. The future behind the last field is for handlers that return before they are done.
struct CallFrame {
    std::size_t struct_size;
    Extension* extensions;
    const Api* api;
    void* context;
    int stage;
    Operands arguments;
    Operands results;
    Attributes attributes;
};

/// What XLA asks a handler when it is registered; newer versions have more behind the last field.
struct Metadata {
    std::size_t struct_size;
    Version version;
    std::uint32_t traits;
};

struct MetadataExtension {
    Extension base;
    Metadata* metadata;
};

}  // namespace logitloss::xla
