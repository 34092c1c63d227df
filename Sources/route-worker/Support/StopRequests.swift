// Once is a request to finish, twice an order to end. Pure.

/// What SIGTERM and SIGINT ask for, as they come.
struct StopRequests {
    enum Answer: Hashable {
        /// Begin nothing new, and finish what is under way.
        case finish
        /// End at once.
        case end
        /// It says the same as the one before.
        case ignore
    }

    /// `timeout(1)` and some supervisors signal a process, and then its group with it: nobody asks twice as quickly.
    static let repetition: Duration = .milliseconds(250)

    private var first: ContinuousClock.Instant?

    var isAsked: Bool { first != nil }

    mutating func received(now: ContinuousClock.Instant) -> Answer {
        guard let first else {
            self.first = now
            return .finish
        }
        return now - first < Self.repetition ? .ignore : .end
    }
}
