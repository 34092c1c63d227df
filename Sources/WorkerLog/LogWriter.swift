// Where log lines go: a bounded buffer, and one thread that empties it. Who logs never waits for who reads.

import Foundation
import Synchronization

/// Writes lines to a file descriptor in the order in which they come, several with one system call.
///
/// A caller copies its line into a buffer and goes on. A line waits for others for 20 ms at most, an urgent one not at all.
/// When nobody takes what is written (a full pipe, a slow terminal) and the buffer is full, lines are dropped and counted,
/// and a line at their place says how many once there is room again.
///
/// The end of the process writes what waits, for a second at most. A process that is killed loses the lines of its last
/// 20 ms.
public final class LogWriter: Sendable {
    /// What callers, the thread and the handler of crashes share. Lives as long as the process or until its thread ends:
    /// C memory, since a signal handler may touch nothing else.
    fileprivate struct Shared {
        var mutex = pthread_mutex_t()
        /// Something has come, or is wanted.
        var work = pthread_cond_t()
        /// Nothing is waiting and nothing is being written.
        var idle = pthread_cond_t()
        var descriptor: Int32
        var capacity: Int
        /// Lines are gathered in one while the other is written.
        var gathering: UnsafeMutableRawPointer
        var writing: UnsafeMutableRawPointer
        var gathered = 0
        var isWriting = false
        var isUrgent = false
        var isClosed = false
        /// Lines dropped since the last note.
        var dropped = 0
        var droppedEver = 0

        /// Nothing is to be written or told.
        var isEmpty: Bool { gathered == 0 && dropped == 0 }
    }

    /// Standard error, for the whole process. Its thread starts with the first line.
    public static let standardError: LogWriter = {
        atexit { LogWriter.standardError.flush(within: .seconds(1)) }
        return LogWriter(descriptor: STDERR_FILENO)
    }()

    public static let defaultCapacity = 1 << 20

    // Only reached with its mutex held, but for the crash handler, which tries to have it.
    nonisolated(unsafe) private let shared: UnsafeMutablePointer<Shared>
    private let delay: Duration
    private let thread = Mutex(false)
    private let note = Mutex<@Sendable (Int) -> [UInt8]> { Array("\($0) lines dropped\n".utf8) }

    /// - Parameters:
    ///   - descriptor: stays open, and the caller's.
    ///   - capacity: bytes that may wait; as many again may be under way.
    ///   - delay: how long a line that is not urgent may wait for company.
    public init(descriptor: Int32, capacity: Int = LogWriter.defaultCapacity, delay: Duration = .milliseconds(20)) {
        self.delay = delay
        shared = .allocate(capacity: 1)
        shared.initialize(
            to: Shared(
                descriptor: descriptor, capacity: capacity,
                gathering: .allocate(byteCount: capacity, alignment: 16),
                writing: .allocate(byteCount: capacity, alignment: 16)))
        pthread_mutex_init(&shared.pointee.mutex, nil)
        // The wall clock may step.
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(&shared.pointee.work, &attributes)
        pthread_cond_init(&shared.pointee.idle, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        let hasThread = thread.withLock { $0 }
        if hasThread {
            // Frees everything when it has written the rest.
            shared.locked {
                $0.pointee.isClosed = true
                pthread_cond_signal(&$0.pointee.work)
            }
        } else {
            shared.free()
        }
    }

    /// How many bytes may wait; what is waiting is kept. Before many lines are: both buffers are made anew.
    public func use(capacity: Int) {
        flush(within: .seconds(1))
        shared.locked { shared in
            // While the thread writes, its buffer must stay as it is.
            guard !shared.pointee.isWriting, shared.pointee.isEmpty else { return }
            shared.pointee.gathering.deallocate()
            shared.pointee.writing.deallocate()
            shared.pointee.gathering = .allocate(byteCount: capacity, alignment: 16)
            shared.pointee.writing = .allocate(byteCount: capacity, alignment: 16)
            shared.pointee.capacity = capacity
        }
    }

    /// How the line that says how many were dropped is written, its line feed included.
    public func noteDropped(by note: @escaping @Sendable (Int) -> [UInt8]) { self.note.withLock { $0 = note } }

    /// Lines dropped so far.
    public var droppedLines: Int { shared.locked { $0.pointee.droppedEver } }

    /// - Parameters:
    ///   - line: with its line feed.
    ///   - isUrgent: not kept waiting for company.
    public func write(_ line: [UInt8], isUrgent: Bool) {
        startThread()
        shared.locked { shared in
            // What was dropped shall be told of before anything that follows it.
            guard shared.pointee.dropped == 0, shared.pointee.gathered + line.count <= shared.pointee.capacity else {
                shared.pointee.dropped += 1
                shared.pointee.droppedEver += 1
                pthread_cond_signal(&shared.pointee.work)
                return
            }
            let wasEmpty = shared.pointee.gathered == 0
            line.withUnsafeBytes {
                guard let bytes = $0.baseAddress else { return }
                shared.pointee.gathering.advanced(by: shared.pointee.gathered).copyMemory(
                    from: bytes, byteCount: line.count)
            }
            shared.pointee.gathered += line.count
            if isUrgent { shared.pointee.isUrgent = true }
            if wasEmpty || isUrgent { pthread_cond_signal(&shared.pointee.work) }
        }
    }

    /// Waits until everything is written, or the limit is over.
    ///
    /// - Returns: whether everything is written.
    @discardableResult
    public func flush(within limit: Duration) -> Bool {
        guard thread.withLock({ $0 }) else { return true }
        var end = deadline(after: limit)
        return shared.locked { shared in
            while !shared.pointee.isEmpty || shared.pointee.isWriting {
                shared.pointee.isUrgent = true
                pthread_cond_signal(&shared.pointee.work)
                if pthread_cond_timedwait(&shared.pointee.idle, &shared.pointee.mutex, &end) == ETIMEDOUT {
                    return false
                }
            }
            return true
        }
    }

    // MARK: The thread

    private func startThread() {
        thread.withLock { isStarted in
            guard !isStarted else { return }
            isStarted = true
            let drain = Drain(
                shared: shared, delay: delay,
                note: { [weak self] count in
                    self?.note.withLock { $0 }(count) ?? Array("\(count) lines dropped\n".utf8)
                })
            Thread.detachNewThread { drain.run() }
        }
    }

    /// What the thread does. It does not hold the writer, whose end ends it.
    private struct Drain: Sendable {
        /// `nonisolated(unsafe)`: as with the writer's, only reached with its mutex held, but for `writing`, which is this
        /// thread's alone while `isWriting`.
        nonisolated(unsafe) let shared: UnsafeMutablePointer<Shared>
        let delay: Duration
        let note: @Sendable (Int) -> [UInt8]

        func run() {
            // Signals are for others; and a reader that has gone is an error of the write, not the end of the process.
            var all = sigset_t()
            sigfillset(&all)
            pthread_sigmask(SIG_BLOCK, &all, nil)
            while let (count, dropped) = next() {
                write(shared.pointee.writing, count)
                if dropped > 0 {
                    let line = note(dropped)
                    line.withUnsafeBytes { if let bytes = $0.baseAddress { write(bytes, line.count) } }
                }
            }
            shared.free()
        }

        /// Waits for lines and company for them.
        private func next() -> (count: Int, dropped: Int)? {
            shared.locked { shared in
                shared.pointee.isWriting = false
                if shared.pointee.isEmpty { pthread_cond_broadcast(&shared.pointee.idle) }
                while shared.pointee.isEmpty {
                    if shared.pointee.isClosed { return nil }
                    pthread_cond_wait(&shared.pointee.work, &shared.pointee.mutex)
                }
                var end = deadline(after: delay)
                while !shared.pointee.isUrgent, !shared.pointee.isClosed, shared.pointee.dropped == 0 {
                    if pthread_cond_timedwait(&shared.pointee.work, &shared.pointee.mutex, &end) == ETIMEDOUT { break }
                }
                let gathered = shared.pointee.gathering
                shared.pointee.gathering = shared.pointee.writing
                shared.pointee.writing = gathered
                let taken = (shared.pointee.gathered, shared.pointee.dropped)
                shared.pointee.gathered = 0
                shared.pointee.dropped = 0
                shared.pointee.isUrgent = false
                shared.pointee.isWriting = true
                return taken
            }
        }

        private func write(_ bytes: UnsafeRawPointer, _ count: Int) {
            let lost = writeAll(shared.pointee.descriptor, bytes, count)
            guard lost > 0 else { return }
            let lines = UnsafeRawBufferPointer(start: bytes + (count - lost), count: lost).count { $0 == 0x0A }
            shared.locked { $0.pointee.droppedEver += lines }
        }
    }

    // MARK: Crashes

    /// From now on the lines that wait are written when the process dies by a fault of its own (a trap, an abort, a bad
    /// access). For one writer of the process.
    public func flushOnCrash() {
        startThread()
        crashing = shared
        for (index, number) in crashSignals.enumerated() {
            var action = sigaction()
            action.__sigaction_handler = .init(sa_handler: { number in LogWriter.crashed(number) })
            sigaction(number, &action, &actionsBefore[index])
        }
    }

    /// Nothing here allocates or waits for long: a thread that was interrupted may hold any lock.
    private static func crashed(_ number: Int32) {
        if let shared = crashing {
            for attempt in 0..<100 {
                var pause = timespec(tv_sec: 0, tv_nsec: 1_000_000)
                guard pthread_mutex_trylock(&shared.pointee.mutex) == 0 else {
                    nanosleep(&pause, nil)
                    continue
                }
                let isReady = !shared.pointee.isWriting || attempt == 99
                if isReady {
                    _ = writeAll(shared.pointee.descriptor, shared.pointee.gathering, shared.pointee.gathered)
                    shared.pointee.gathered = 0
                }
                pthread_mutex_unlock(&shared.pointee.mutex)
                if isReady { break }
                nanosleep(&pause, nil)
            }
        }
        for (index, known) in crashSignals.enumerated() where known == number {
            sigaction(number, &actionsBefore[index], nil)
        }
        // Delivered when this handler is over, to whoever was there before.
        raise(number)
    }
}

// Only the handler and `flushOnCrash` reach these. Plain memory: a lazy initialiser would take a lock.
nonisolated(unsafe) private var crashing: UnsafeMutablePointer<LogWriter.Shared>?
nonisolated(unsafe) private var actionsBefore = (0..<crashSignals.count).map { _ in sigaction() }
private let crashSignals = [SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV]

extension UnsafeMutablePointer<LogWriter.Shared> {
    fileprivate func locked<Value>(_ body: (Self) -> Value) -> Value {
        pthread_mutex_lock(&pointee.mutex)
        defer { pthread_mutex_unlock(&pointee.mutex) }
        return body(self)
    }

    fileprivate func free() {
        pointee.gathering.deallocate()
        pointee.writing.deallocate()
        pthread_mutex_destroy(&pointee.mutex)
        pthread_cond_destroy(&pointee.work)
        pthread_cond_destroy(&pointee.idle)
        deinitialize(count: 1)
        deallocate()
    }
}

/// - Returns: how many bytes nobody took, for good.
private func writeAll(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
    var done = 0
    while done < count {
        let written = write(descriptor, bytes + done, count - done)
        if written > 0 {
            done += written
        } else if errno == EAGAIN {
            // Somebody made a shared terminal or pipe non-blocking.
            var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            poll(&ready, 1, 1000)
        } else if errno != EINTR {
            break
        }
    }
    return count - done
}

/// On the clock of the conditions.
private func deadline(after wait: Duration) -> timespec {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let (seconds, attoseconds) = wait.components
    let nanoseconds = now.tv_nsec + Int(attoseconds / 1_000_000_000)
    return timespec(
        tv_sec: now.tv_sec + Int(seconds) + nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000)
}
