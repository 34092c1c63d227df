// Tasks on the worker's home event loop.

public import NIOCore

/// Runs tasks on an event loop, in the turn after they are enqueued: what is started in the course of one turn runs
/// together when it is over, which makes for batches.
///
/// The loop must outlive every task.
public final class LoopTaskExecutor: TaskExecutor {
    private let loop: any EventLoop

    public init(_ loop: any EventLoop) {
        self.loop = loop
    }

    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
