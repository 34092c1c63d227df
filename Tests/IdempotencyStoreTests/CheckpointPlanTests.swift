// When the write-ahead log is copied, and by whom, as transcripts.

import Testing

@testable import SQLiteIdempotencyStore

@Suite struct CheckpointPlanTests {
    private var plan = CheckpointPlan(interval: 100)

    @Test mutating func theOtherConnectionBeginsAndTheCommitsFinish() {
        #expect(plan.committed(pages: 99) == .none)
        #expect(plan.committed(pages: 104) == .begin)
        #expect(plan.committed(pages: 110) == .none)
        plan.ended()
        #expect(plan.committed(pages: 115) == .finish)
        // The log began again.
        #expect(plan.committed(pages: 4) == .none)
        #expect(plan.committed(pages: 100) == .begin)
    }

    @Test mutating func oneRunsAtATime() {
        #expect(plan.committed(pages: 100) == .begin)
        #expect(plan.committed(pages: 900) == .none)
        plan.ended()
        #expect(plan.committed(pages: 901) == .finish)
    }

    /// Where the log cannot begin again, every commit would call for a checkpoint of nearly nothing.
    @Test mutating func aLogThatStaysLongIsCopiedAgainAfterAsManyPages() {
        #expect(plan.committed(pages: 120) == .begin)
        plan.ended()
        #expect(plan.committed(pages: 130) == .finish)
        #expect(plan.committed(pages: 219) == .none)
        #expect(plan.committed(pages: 220) == .begin)
        plan.ended()
        #expect(plan.committed(pages: 221) == .finish)
    }

    /// Another process may have begun the log again between two commits.
    @Test mutating func aShorterLogStartsTheCountAgain() {
        #expect(plan.committed(pages: 250) == .begin)
        plan.ended()
        #expect(plan.committed(pages: 20) == .finish)
        #expect(plan.committed(pages: 100) == .begin)
    }
}
