// The writer of log lines against pipes that are read, full and gone, and a process that crashes.

import Foundation
import TestSupport
import Testing

@testable import WorkerLog

@Suite(.timeLimit(.minutes(1))) struct LogWriterTests {
    /// A pipe, of which the reading end is read only when a test does so.
    private final class TestPipe: Sendable {
        let reading: Int32
        let writing: Int32

        init() {
            var ends: [Int32] = [0, 0]
            precondition(pipe(&ends) == 0)
            (reading, writing) = (ends[0], ends[1])
        }

        deinit {
            close(reading)
            close(writing)
        }

        /// Whether it takes no more.
        var isFull: Bool {
            var ready = pollfd(fd: writing, events: Int16(POLLOUT), revents: 0)
            return poll(&ready, 1, 0) == 0
        }

        /// Reads until the writer has nothing left.
        func lines(untilIdle writer: LogWriter) -> [String] {
            _ = fcntl(reading, F_SETFL, O_NONBLOCK)
            defer { _ = fcntl(reading, F_SETFL, 0) }
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            var isIdle = false
            while true {
                let count = read(reading, &buffer, buffer.count)
                if count > 0 { bytes += buffer[..<count] } else if isIdle { break }
                isIdle = writer.flush(within: .milliseconds(1))
            }
            return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        }

        /// Reads until a line contains `text`.
        func lines(until text: String) -> [String] {
            var bytes: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = read(reading, &buffer, buffer.count)
                guard count > 0 else { break }
                bytes += buffer[..<count]
                if bytes.last == 0x0A, String(decoding: bytes.suffix(200), as: UTF8.self).contains(text) { break }
            }
            return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        }
    }

    private func line(_ number: Int) -> [UInt8] { Array("line \(number) \(String(repeating: ".", count: 90))\n".utf8) }

    @Test("Lines come in their order, urgent ones at once and with all before them")
    func order() {
        let pipe = TestPipe()
        let writer = LogWriter(descriptor: pipe.writing, delay: .seconds(3600))
        for number in 1...100 { writer.write(line(number), isUrgent: number == 100) }
        let lines = pipe.lines(until: "line 100 ")
        #expect(lines.map { $0.split(separator: " ")[1] } == (1...100).map { "\($0)" })
        #expect(writer.droppedLines == 0)
    }

    @Test("A line that is not urgent waits for a moment alone")
    func company() {
        let pipe = TestPipe()
        let writer = LogWriter(descriptor: pipe.writing, delay: .milliseconds(1))
        writer.write(line(1), isUrgent: false)
        #expect(pipe.lines(until: "line 1 ").count == 1)
    }

    @Test("Who logs into a pipe that nobody reads goes on; what is lost is counted and told of at its place")
    func stalled() throws {
        let pipe = TestPipe()
        let writer = LogWriter(descriptor: pipe.writing, capacity: 10_000, delay: .zero)
        // The test would never end if a write could wait.
        var count = 0
        func writeLines(_ more: Int) {
            for number in count + 1...count + more { writer.write(line(number), isUrgent: number % 10 == 0) }
            count += more
        }
        // The pipe takes 64 KiB, whenever the writer's thread comes to it; then its two buffers take 10,000 bytes each.
        while !pipe.isFull {
            writeLines(10)
            sched_yield()
        }
        writeLines(500)
        let dropped = writer.droppedLines
        #expect(dropped > 0 && dropped < count)
        #expect(!writer.flush(within: .milliseconds(10)))

        var next = 1
        var told = 0
        for line in pipe.lines(untilIdle: writer) {
            let words = line.split(separator: " ")
            if line.hasSuffix(" lines dropped") {
                let count = try #require(Int(words[0]))
                (next, told) = (next + count, told + count)
            } else {
                #expect(words[1] == "\(next)")
                next += 1
            }
        }
        #expect(told == dropped && next == count + 1)
        // And then as before.
        writer.write(line(1), isUrgent: true)
        #expect(pipe.lines(until: "line 1 ").count == 1)
        #expect(writer.droppedLines == dropped)
    }

    @Test("A reader that has gone costs the lines, and nothing else")
    func readerGone() throws {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        close(ends[0])
        let writer = LogWriter(descriptor: ends[1], delay: .zero)
        writer.write(line(1), isUrgent: true)
        #expect(writer.flush(within: .seconds(30)))
        #expect(writer.droppedLines == 1)
        close(ends[1])
    }

    @Test("A writer that ends writes the rest")
    func end() {
        let pipe = TestPipe()
        do {
            let writer = LogWriter(descriptor: pipe.writing, delay: .seconds(3600))
            writer.write(line(1), isUrgent: false)
        }
        #expect(pipe.lines(until: "line 1 ").count == 1)
    }

    @Test("A process that crashes writes what waits")
    func crash() async throws {
        let result = await #expect(processExitsWith: .signal(SIGABRT), observing: [\.standardErrorContent]) {
            let writer = LogWriter(descriptor: STDERR_FILENO, delay: .seconds(3600))
            writer.flushOnCrash()
            writer.write(Array("last words\n".utf8), isUrgent: false)
            abort()
        }
        let said = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(said.contains("last words\n"))
    }
}
