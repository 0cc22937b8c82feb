// Torch's threads are reached as compiled OpenMP code reaches them, by GOMP_parallel, in the library that torch was linked
// with (the ABI of GNU's and of LLVM's OpenMP on Linux). A fork has none of its parent's threads, and gets new ones.
#include "team.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

#include <cstring>
#endif

namespace optlayers {

namespace {

struct OpenMP {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned) = nullptr;
    int (*number)() = nullptr;  // of this thread, in its team
    int (*size)() = nullptr;    // of the team
};

std::atomic<bool> is_wanted{true}, is_forked{false};

#if defined(__linux__)
int find_torch(dl_phdr_info* info, std::size_t, void* handle) {
    if (std::strstr(info->dlpi_name, "/libtorch_cpu.so") == nullptr) return 0;
    *static_cast<void**>(handle) = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);
    return 1;
}

OpenMP find_openmp() {
    pthread_atfork(nullptr, nullptr, [] { is_forked = true; });
    void* torch = nullptr;
    dl_iterate_phdr(find_torch, &torch);
    OpenMP result;
    if (torch == nullptr) return result;
    result.number = reinterpret_cast<int (*)()>(dlsym(torch, "omp_get_thread_num"));
    result.size = reinterpret_cast<int (*)()>(dlsym(torch, "omp_get_num_threads"));
    const auto parallel = reinterpret_cast<decltype(result.parallel)>(dlsym(torch, "GOMP_parallel"));
    if (result.number != nullptr && result.size != nullptr) result.parallel = parallel;
    return result;
}
#else
OpenMP find_openmp() { return {}; }
#endif

const OpenMP& openmp() {
    static const OpenMP found = find_openmp();
    return found;
}

struct Task {
    std::int64_t parts;
    void (*body)(const void*, std::int64_t);
    const void* data;
    std::exception_ptr failure;
    std::atomic<bool> has_failed{false};

    void run(std::int64_t first, std::int64_t step) noexcept {
        try {
            for (std::int64_t part = first; part < parts; part += step) body(data, part);
        } catch (...) {
            if (!has_failed.exchange(true)) failure = std::current_exception();
        }
    }
};

void run_in_torch_threads(Task& task, int threads) {
    const auto member = [](void* shared) { static_cast<Task*>(shared)->run(openmp().number(), openmp().size()); };
    // all are asked, for a smaller team would end the others; if fewer are granted, they take several parts
    openmp().parallel(member, &task, static_cast<unsigned>(threads), 0);
}

void run_in_new_threads(Task& task) {
    std::vector<std::thread> others;
    std::int64_t part = 1;
    try {
        for (; part < task.parts; ++part) others.emplace_back([&task, part] { task.run(part, task.parts); });
    } catch (const std::system_error&) {  // there can be no more
        for (; part < task.parts; ++part) task.run(part, task.parts);
    }
    task.run(0, task.parts);
    for (std::thread& other : others) other.join();
}

}  // namespace

bool use_torch_threads(bool wanted) {
    is_wanted = wanted;
    return openmp().parallel != nullptr && !is_forked;
}

void share_out(int threads, std::int64_t parts, void (*body)(const void*, std::int64_t), const void* data) {
    Task task{parts, body, data, nullptr};
    if (parts <= 1 || threads <= 1)
        task.run(0, 1);
    else if (openmp().parallel != nullptr && is_wanted && !is_forked)
        run_in_torch_threads(task, threads);
    else
        run_in_new_threads(task);
    if (task.failure) std::rethrow_exception(task.failure);
}

}  // namespace optlayers
