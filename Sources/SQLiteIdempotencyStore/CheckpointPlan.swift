// When the write-ahead log is copied into the database, and by whom. Pure.

/// A checkpoint of thousands of pages takes tens of milliseconds, in which nobody's claim should wait. So another
/// connection does it beside the commits; since these go on, some pages are left when it is done, and the log can only
/// start from the beginning once none is. Those few the committing connection copies itself, between two batches.
///
/// The other connection begins only when there is something to copy, and only once each time. SQLite up to 3.51.2 can lose
/// pages when a commit begins the log again while a checkpoint starts (sqlite.org/wal.html, "WAL-reset bug"); a commit can
/// do so only where all is copied, which within one process is never so while the other connection starts.
struct CheckpointPlan {
    enum Step: Equatable {
        case none
        /// The other connection shall begin; ``ended()`` says that it is done.
        case begin
        /// The committing connection copies what is left, at once; ``finished(isComplete:)`` says how that went.
        case finish
    }

    private let interval: Int
    private var dueAt: Int
    private var lastPages = 0
    private var isRunning = false
    /// Pages at which what is left is to be copied.
    private var finishAt: Int?

    /// - Parameter interval: pages in the log that call for a checkpoint.
    init(interval: Int) {
        self.interval = interval
        dueAt = interval
    }

    /// - Parameter pages: in the log after a commit, those of other processes included.
    mutating func committed(pages: Int) -> Step {
        if pages < lastPages {
            dueAt = interval
            finishAt = nil
        }
        lastPages = pages
        if let finishAt {
            guard pages >= finishAt else { return .none }
            self.finishAt = nil
            return .finish
        }
        guard !isRunning, pages >= dueAt else { return .none }
        isRunning = true
        dueAt = pages + interval
        return .begin
    }

    /// The other connection is done, well or not.
    mutating func ended() {
        isRunning = false
        finishAt = 0
    }

    /// - Parameter isComplete: `false` where pages are left, since another process commits, copies or reads as well: then
    ///   a few pages later is another try, for until one succeeds the log only grows.
    mutating func finished(isComplete: Bool) {
        if !isComplete { finishAt = lastPages + interval / 40 }
    }
}
