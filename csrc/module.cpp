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

PyObject* solve(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    constexpr Py_ssize_t kCount = 19;
    long long n[kCount];
    if (!read(arguments, count, kCount, n)) return nullptr;
    optlayers::Batch batch;
    batch.samples = n[0];
    batch.threads = static_cast<int>(n[1]);
    batch.entries = static_cast<int>(n[2]);
    batch.row_count = static_cast<int>(n[3]);
    batch.box = n[4] != 0;
    batch.linear = static_cast<int>(n[5]);
    batch.cone_count = static_cast<int>(n[6]);
    batch.cones = reinterpret_cast<const optlayers::Cone*>(n[7]);
    batch.weight = reinterpret_cast<const double*>(n[8]);
    batch.rows = reinterpret_cast<const double*>(n[9]);
    batch.row_stride = n[10];
    batch.bound_stride = n[11];
    batch.lower = reinterpret_cast<const double*>(n[12]);
    batch.upper = reinterpret_cast<const double*>(n[13]);
    batch.v = reinterpret_cast<const double*>(n[14]);
    batch.x = reinterpret_cast<double*>(n[15]);
    batch.y = reinterpret_cast<double*>(n[16]);
    batch.status = reinterpret_cast<std::int64_t*>(n[17]);
    batch.steps = reinterpret_cast<std::int64_t*>(n[18]);
    Py_BEGIN_ALLOW_THREADS
    optlayers::solve(batch);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

// A kernel: whether entries are doubles, threads, rows, entries of a row; then address and number of rows of each array.
template <void (*kernel)(Call&), Py_ssize_t arrays>
PyObject* call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    constexpr Py_ssize_t kCount = 4 + 2 * arrays;
    long long n[kCount];
    if (!read(arguments, count, kCount, n)) return nullptr;
    Call rows{n[0] != 0, static_cast<int>(n[1]), n[2], n[3], n + 4};
    bool has_memory = true;
    Py_BEGIN_ALLOW_THREADS
    try {
        kernel(rows);
    } catch (const std::exception&) {  // of no other kind
        has_memory = false;
    }
    Py_END_ALLOW_THREADS
    if (!has_memory) return PyErr_NoMemory();
    Py_RETURN_NONE;
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
    {"solve", function(solve), METH_FASTCALL,
     "Solve a batch of programs; see optlayers/solvers/core.py for the arguments."},
    {"use_torch_threads", use_torch_threads, METH_O, "Say whether torch's threads are used; return whether they can be."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", nullptr, 0, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__core() { return PyModule_Create(&definition); }
