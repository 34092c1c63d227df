// The least level that is written: one for the whole process, to be changed while it runs.

public import Logging
import Synchronization

/// What a ``LineLog`` goes by, and a logger without a level of its own. A look costs one load.
public final class LogThreshold: Sendable {
    public static let shared = LogThreshold()

    private let number = Atomic<Int>(2)

    public init() {}

    public var level: Logger.Level {
        get { Logger.Level.allCases[number.load(ordering: .relaxed)] }
        set { number.store(Logger.Level.allCases.firstIndex(of: newValue) ?? 2, ordering: .relaxed) }
    }
}
