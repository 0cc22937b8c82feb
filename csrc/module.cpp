// The Python module optlayers.solvers._core, on the stable ABI: one function, which takes addresses of tensors' memory.
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>

#include "interface.h"

namespace {

bool read(PyObject* const* arguments, Py_ssize_t count, long long* numbers) {
    for (Py_ssize_t i = 0; i < count; ++i) {
        numbers[i] = PyLong_AsLongLong(arguments[i]);
        if (numbers[i] == -1 && PyErr_Occurred()) return false;
    }
    return true;
}

PyObject* solve(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    constexpr Py_ssize_t kCount = 19;
    if (count != kCount) {
        PyErr_Format(PyExc_TypeError, "solve takes %zd numbers, got %zd", kCount, count);
        return nullptr;
    }
    long long n[kCount];
    if (!read(arguments, count, n)) return nullptr;
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

PyMethodDef methods[] = {
    {"solve", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(solve)), METH_FASTCALL,
     "Solve a batch of programs; see optlayers/solvers/core.py for the arguments."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_core", nullptr, 0, methods, nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__core() { return PyModule_Create(&definition); }
