// Actors and tasks on the worker's home event loop.

public import NIOCore
import NIOConcurrencyHelpers

/// The executor of an event loop's actors and, as a preference, of the tasks that call them.
///
/// It is both at once, since a task that prefers another executor than the one its actor was run by is sent round the loop
/// again at every step from one function of the actor to the next, which besides the time takes away that nothing comes in
/// between. Without a preference every continuation would come back by way of the concurrent pool.
public final class LoopExecutor: SerialExecutor, TaskExecutor {
    /// One for each loop, so that actors of different rooms call each other without a hop.
    private static let all = NIOLockedValueBox<[ObjectIdentifier: LoopExecutor]>([:])

    private let loop: any EventLoop
    private let waiting = NIOLockedValueBox(Waiting())
    /// The jobs of the last turn, for the room they have taken.
    private let spare: NIOLoopBoundBox<[UnownedJob]>

    /// Jobs for the loop's next turn. They are gathered here since a call of the loop costs more than most jobs.
    private struct Waiting {
        var jobs: [UnownedJob] = []
        var isScheduled = false
    }

    /// The one of a loop. Both are kept until the process ends.
    public static func of(_ loop: any EventLoop) -> LoopExecutor {
        all.withLockedValue { all in
            if let executor = all[ObjectIdentifier(loop)] { return executor }
            let executor = LoopExecutor(loop)
            all[ObjectIdentifier(loop)] = executor
            return executor
        }
    }

    private init(_ loop: any EventLoop) {
        self.loop = loop
        spare = .makeBoxSendingValue([], eventLoop: loop)
    }

    /// Runs the job in the loop's next turn: what is started in one turn runs together, which makes for batches.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let isFirst = waiting.withLockedValue { waiting in
            waiting.jobs.append(job)
            defer { waiting.isScheduled = true }
            return !waiting.isScheduled
        }
        if isFirst { loop.execute { self.runWaiting() } }
    }

    private func runWaiting() {
        var jobs = spare.value
        spare.value = []
        waiting.withLockedValue { waiting in
            swap(&waiting.jobs, &jobs)
            waiting.isScheduled = false
        }
        for job in jobs {
            job.runSynchronously(isolatedTo: asUnownedSerialExecutor(), taskExecutor: asUnownedTaskExecutor())
        }
        jobs.removeAll(keepingCapacity: true)
        spare.value = jobs
    }

    public func checkIsolated() { loop.preconditionInEventLoop() }

    public func isIsolatingCurrentContext() -> Bool? { loop.inEventLoop }
}
