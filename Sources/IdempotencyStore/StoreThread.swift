// A thread for a blocking library, and the one thing that may touch its connection.

import Foundation

/// Runs jobs one after another on a thread of its own, outside Swift's pool. `State` is made on that thread, is only
/// ever used there and is let go there.
///
/// The thread blocks every signal, SIGPIPE among them: a library that writes to a closed socket gets EPIPE.
public final class StoreThread<State>: Sendable {
    private typealias Job = @Sendable (State) -> Void

    /// Unchecked, since the condition's lock guards all that can change.
    private final class Desk: @unchecked Sendable {
        private let condition = NSCondition()
        private var jobs: [Job] = []
        private var isStopped = false

        /// `false` once stopped.
        func put(_ job: @escaping Job) -> Bool {
            condition.withLock {
                guard !isStopped else { return false }
                jobs.append(job)
                condition.signal()
                return true
            }
        }

        func stop() {
            condition.withLock {
                isStopped = true
                condition.signal()
            }
        }

        /// Waits for jobs; `nil` when stopped and nothing is left to do.
        func take() -> [Job]? {
            condition.withLock {
                while jobs.isEmpty, !isStopped { condition.wait() }
                defer { jobs = [] }
                return jobs.isEmpty ? nil : jobs
            }
        }
    }

    private let desk: Desk

    /// - Parameter name: 15 bytes of it count.
    public init(name: String, state: @escaping @Sendable () -> State) {
        let desk = Desk()
        self.desk = desk
        let thread = Thread {
            var all = sigset_t()
            sigfillset(&all)
            pthread_sigmask(SIG_BLOCK, &all, nil)
            let state = state()
            while let jobs = desk.take() {
                for job in jobs { job(state) }
            }
        }
        thread.name = name
        thread.start()
    }

    deinit { desk.stop() }

    /// `nil` once stopped.
    public func run<Value: Sendable>(_ job: @escaping @Sendable (State) -> Value) async -> Value? {
        await withCheckedContinuation { continuation in
            let isTaken = desk.put { state in continuation.resume(returning: job(state)) }
            if !isTaken { continuation.resume(returning: nil) }
        }
    }

    /// Does what was asked before, then ends the thread.
    public func stop() { desk.stop() }
}
