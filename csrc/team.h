// Work shared out among threads: torch's own where these can be had, else new ones.
//
// After each operation torch's threads wait for the next one without giving up their cores. Other threads would compete
// with them, which doubles the time of a kernel; torch's are awake, and start within a microsecond.
#pragma once

#include <cstdint>

namespace optlayers {

// Calls body(data, part) once for each part, in at most so many threads, and returns when all are done. The first
// exception of a part is thrown again here.
void share_out(int threads, std::int64_t parts, void (*body)(const void*, std::int64_t), const void* data);

template <class Body>
void share_out(int threads, std::int64_t parts, const Body& body) {
    share_out(threads, parts, [](const void* data, std::int64_t part) { (*static_cast<const Body*>(data))(part); }, &body);
}

// Says whether torch's threads are used where they can be had; returns whether they can.
bool use_torch_threads(bool wanted);

}  // namespace optlayers
