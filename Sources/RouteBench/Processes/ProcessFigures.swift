// What the kernel says of processes: time on the processor, memory.

import Foundation

/// Processor time in seconds, of one process or of several together.
struct ProcessorTime: Sendable {
    var user = 0.0
    var system = 0.0

    var total: Double { user + system }

    static func + (left: Self, right: Self) -> Self {
        Self(user: left.user + right.user, system: left.system + right.system)
    }

    static func - (left: Self, right: Self) -> Self {
        Self(user: left.user - right.user, system: left.system - right.system)
    }
}

enum ProcessFigures {
    /// The time of all threads of a process so far: `utime` and `stime` of proc(5), which count in hundredths of a
    /// second. Zero for a process that is gone.
    static func time(of pid: Int32) -> ProcessorTime {
        guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else {
            return ProcessorTime()
        }
        // After the name in parentheses, which may hold anything, the state comes first.
        let fields = text[(text.lastIndex(of: ")") ?? text.startIndex)...].split(separator: " ")
        guard fields.count > 13, let user = Double(fields[12]), let system = Double(fields[13]) else {
            return ProcessorTime()
        }
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        return ProcessorTime(user: user / ticks, system: system / ticks)
    }

    /// The same with that of its children: PostgreSQL has a process for every connection.
    static func timeWithChildren(of pid: Int32) -> ProcessorTime {
        let path = "/proc/\(pid)/task/\(pid)/children"
        let children = (try? String(contentsOfFile: path, encoding: .utf8))?.split(separator: " ") ?? []
        return children.compactMap { Int32($0) }.map(time).reduce(time(of: pid), +)
    }

    /// Peak and present resident memory, and how much of the present is no file's (heap and stacks), in KiB; zero for a
    /// process that is gone.
    static func memory(of pid: Int32) -> (peak: Int, present: Int, anonymous: Int) {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
        func value(_ key: String) -> Int {
            let line = text.split(separator: "\n").first { $0.hasPrefix(key) }
            return line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
        }
        return (value("VmHWM:"), value("VmRSS:"), value("RssAnon:"))
    }
}

/// Nanoseconds of the monotonic clock, which all processes of the machine share.
func monotonicNow() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
