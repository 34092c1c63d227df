// Where a worker can be told to die or to stop, so that tests find out what it leaves behind there. Debug builds only.

#if DEBUG
    import Foundation
    import Synchronization

    /// A step of a delivery. A process whose environment names one, `ROUTE_WORKER_FAILPOINT=after-claim`, kills itself by
    /// SIGKILL when it arrives there for the first time; `after-claim:stop` stops it by SIGSTOP instead, and after a
    /// SIGCONT it goes on from there.
    public enum Failpoint: String, CaseIterable, Sendable {
        /// The delivery was handed to the pipeline.
        case afterDeliver = "after-deliver"
        /// The command was read, and is about to enter its lane.
        case afterDecode = "after-decode"
        case beforeClaim = "before-claim"
        /// The claim stands in the store.
        case afterClaim = "after-claim"
        /// A connection is at hand; nothing of the request was written.
        case beforeSend = "before-send"
        /// The kernel has taken the whole request.
        case afterSend = "after-send"
        case afterAnswer = "after-answer"
        case beforeRecord = "before-record"
        /// The result stands in the store.
        case afterRecord = "after-record"
        /// The answer was written to the broker, which has not confirmed it.
        case afterPublish = "after-publish"
        /// Everything is confirmed; the delivery is not acknowledged.
        case afterConfirm = "after-confirm"
        /// The acknowledgement was written to the broker.
        case afterAck = "after-ack"
        /// The command stands in a parking queue; the delivery is not acknowledged.
        case afterParking = "after-parking"

        public static let variable = "ROUTE_WORKER_FAILPOINT"
        private static let (chosen, signal) = choice()
        private static let isSpent = Atomic(false)

        /// Ends or stops the process if this is what it was told.
        public func reached() {
            guard Self.chosen == self, !Self.isSpent.exchange(true, ordering: .relaxed) else { return }
            // To this thread, which the signal then reaches before another instruction.
            raise(Self.signal)
        }

        private static func choice() -> (Failpoint?, Int32) {
            guard let text = ProcessInfo.processInfo.environment[variable], !text.isEmpty else { return (nil, SIGKILL) }
            let parts = text.split(separator: ":", omittingEmptySubsequences: false)
            guard let point = Failpoint(rawValue: String(parts[0])), parts.count == 1 || parts[1...] == ["stop"] else {
                fatalError("\(variable)=\(text) names no failpoint")
            }
            return (point, parts.count == 1 ? SIGKILL : SIGSTOP)
        }
    }
#else
    /// Nothing at all: whatever name is mentioned, a release knows none.
    @dynamicMemberLookup
    public enum Failpoint {
        @inlinable
        public static subscript(dynamicMember name: StaticString) -> Failpoint.Type { self }

        @inlinable
        public static func reached() {}
    }
#endif
