// The Python module optlayers._core, on the stable ABI: its functions take addresses of tensors' memory.
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include <new>

#include "interface.h"
#include "kernels/kernels.h"
#include "team.h"

namespace {

using optlayers::Call;

bool read(PyObject* const* arguments, Py_ssize_t count, Py_ssize_t expected, long long* numbers) {
    if (count != expected) {
        PyErr_Format(PyExc_TypeError, "expected %zd numbers, got %zd", expected, count);
        return false;
    }
    for (Py_ssize_t i = 0; i < count; ++i) {
        numbers[i] = PyLong_AsLongLong(arguments[i]);
        if (numbers[i] == -1 && PyErr_Occurred()) return false;
    }
    return true;
}

constexpr Py_ssize_t kBatch = 18;  // numbers that describe a batch

template <class T>
T* at(long long address) {
    return reinterpret_cast<T*>(address);
}

optlayers::Batch batch_of(const long long* n) {
    const optlayers::Structure structure{static_cast<int>(n[2]), static_cast<int>(n[3]),
                                         static_cast<int>(n[4]), at<const std::int64_t>(n[5]),
                                         static_cast<int>(n[6]), static_cast<int>(n[7]),
                                         static_cast<int>(n[8]), at<const optlayers::Cone>(n[9])};
    return {n[0], static_cast<int>(n[1]), structure, at<const double>(n[10]), n[11], at<const double>(n[12]),
            at<const double>(n[13]), n[14], at<const double>(n[15]), at<double>(n[16]), at<double>(n[17])};
}

// Run without the interpreter's lock.
template <class Body>
PyObject* unlocked(const Body& body) {
    bool has_memory = true;
    Py_BEGIN_ALLOW_THREADS
    try {
        body();
    } catch (const std::exception&) {  // of no other kind
        has_memory = false;
    }
    Py_END_ALLOW_THREADS
    if (!has_memory) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

PyObject* project(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    long long n[kBatch + 4];
    if (!read(arguments, count, kBatch + 4, n)) return nullptr;
    const long long* v = n + kBatch;
    const optlayers::Verdicts verdicts{at<double>(v[1]), at<double>(v[2]), at<std::int64_t>(v[3])};
    return unlocked([&] { optlayers::project(batch_of(n), at<const double>(v[0]), verdicts); });
}

PyObject* pull(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    long long n[kBatch + 6];
    if (!read(arguments, count, kBatch + 6, n)) return nullptr;
    const long long* g = n + kBatch;
    const optlayers::Gradients gradients{at<const double>(g[0]), at<double>(g[1]), at<double>(g[2]),
                                         at<double>(g[3]), at<double>(g[4]), at<std::int64_t>(g[5])};
    return unlocked([&] { optlayers::pull(batch_of(n), gradients); });
}

// A kernel: whether entries are doubles, threads, rows, entries of a row; then address and number of rows of each array.
template <void (*kernel)(Call&), Py_ssize_t arrays>
PyObject* call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    constexpr Py_ssize_t kCount = 4 + 2 * arrays;
    long long n[kCount];
    if (!read(arguments, count, kCount, n)) return nullptr;
    Call rows{n[0] != 0, static_cast<int>(n[1]), n[2], n[3], n + 4};
    return unlocked([&] { kernel(rows); });
}

PyObject* use_torch_threads(PyObject*, PyObject* wanted) {
    const int answer = PyObject_IsTrue(wanted);
    return answer < 0 ? nullptr : PyBool_FromLong(optlayers::use_torch_threads(answer != 0));
}

PyCFunction function(PyObject* (*fast)(PyObject*, PyObject* const*, Py_ssize_t)) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(fast));
}

#define OPTLAYERS_METHOD(name, arrays) {#name, function(call<optlayers::name, arrays>), METH_FASTCALL, nullptr},

PyMethodDef methods[] = {
    OPTLAYERS_KERNELS(OPTLAYERS_METHOD)
    {"project", function(project), METH_FASTCALL, "Project samples; see optlayers/solvers/core.py for the arguments."},
    {"pull", function(pull), METH_FASTCALL, "Take gradients back to points and data; see optlayers/solvers/core.py."},
    {"use_torch_threads", use_torch_threads, METH_O, "Say whether torch's threads are used; return whether they can be."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", nullptr, 0, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__core() {
    PyObject* module = PyModule_Create(&definition);
    // goes up whenever arguments of functions change, as in optlayers/native.py
    if (module && PyModule_AddIntConstant(module, "INTERFACE", 1) < 0) Py_CLEAR(module);
    return module;
}
