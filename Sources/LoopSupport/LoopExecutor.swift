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
    }

    /// Runs the job in the loop's next turn: what is started in one turn runs together, which makes for batches.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute {
            job.runSynchronously(
                isolatedTo: self.asUnownedSerialExecutor(), taskExecutor: self.asUnownedTaskExecutor())
        }
    }

    public func checkIsolated() { loop.preconditionInEventLoop() }

    public func isIsolatingCurrentContext() -> Bool? { loop.inEventLoop }
}
