/* Uses what the C++ library has for plugins, in a folder that `greet` is given, and answers `done`. */
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <locale>
#include <mutex>
#include <random>
#include <sstream>
#include <stdexcept>
#include <thread>
#include <vector>

#include "greeter.h"
#include "hardpoint.hpp"

namespace {

class Runtime {
public:
    std::string greet(std::string_view name) const {
        try_threads();
        try_files(std::filesystem::path(name));
        try_rest();
        return "done";
    }
    std::string_view lang() const { return "C++"; }

private:
    static void need(bool holds, const char *what) {
        if (!holds) {
            throw std::runtime_error(what);
        }
    }

    static void try_threads() {
        std::mutex mutex;
        std::condition_variable changed;
        int count = 0;
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; i++) {
            threads.emplace_back([&] {
                const std::lock_guard<std::mutex> held(mutex);
                count++;
                changed.notify_all();
            });
        }
        {
            std::unique_lock<std::mutex> held(mutex);
            need(changed.wait_for(held, std::chrono::seconds(10), [&] { return count == 8; }), "threads");
        }
        for (auto &thread : threads) {
            thread.join();
        }
        auto thrown = std::async(std::launch::async, []() -> int { throw std::logic_error("asked for"); });
        try {
            thrown.get();
            need(false, "exceptions");
        } catch (const std::logic_error &) {
        }
    }

    static void try_files(const std::filesystem::path &folder) {
        const auto first = folder / "runtime-cpp", second = folder / "runtime-cpp.new", third = folder / "runtime-copy";
        std::ofstream(first) << 1 << std::endl;
        std::filesystem::rename(first, second);
        std::ofstream(third) << std::ifstream(second).rdbuf(); // copy_file would change the mode, which is refused
        int number = 0;
        need(bool(std::ifstream(third) >> number) && number == 1, "files");
        std::filesystem::create_directory(first);
        int found = 0;
        for (const auto &each : std::filesystem::directory_iterator(folder)) {
            found += each.exists();
        }
        need(found >= 3, "folders");
        for (const auto &each : {first, second, third}) {
            need(std::filesystem::remove(each), "remove");
        }
    }

    static void try_rest() {
        std::random_device random;
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 10));
        need(std::chrono::system_clock::now().time_since_epoch().count() > 0, "time");
        need(std::thread::hardware_concurrency() > 0, "processors");
        std::cout << std::locale("C").name() << std::endl;
    }
};

} // namespace

using plugin = hp::Plugin<Runtime>;

GREETER_PLUGIN("runtime", "1.0.0", p.create = plugin::create, p.destroy = plugin::destroy,
               p.greet = plugin::method<&Runtime::greet>, p.lang = plugin::method<&Runtime::lang>);
