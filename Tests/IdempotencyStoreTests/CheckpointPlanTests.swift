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
        plan.finished(isComplete: true)
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

    /// Where another process commits as well, something is nearly always left.
    @Test mutating func whatIsLeftIsTriedAgainSoonUntilNothingIs() {
        #expect(plan.committed(pages: 120) == .begin)
        plan.ended()
        #expect(plan.committed(pages: 130) == .finish)
        plan.finished(isComplete: false)
        #expect(plan.committed(pages: 131) == .none)
        #expect(plan.committed(pages: 132) == .finish)
        plan.finished(isComplete: false)
        #expect(plan.committed(pages: 300) == .finish)
        plan.finished(isComplete: true)
        #expect(plan.committed(pages: 3) == .none)
        #expect(plan.committed(pages: 100) == .begin)
    }

    @Test mutating func ofALogThatAnotherProcessBeganAgainNothingIsLeft() {
        #expect(plan.committed(pages: 250) == .begin)
        plan.ended()
        #expect(plan.committed(pages: 20) == .none)
        #expect(plan.committed(pages: 100) == .begin)
        plan.ended()
        #expect(plan.committed(pages: 101) == .finish)
        plan.finished(isComplete: false)
        #expect(plan.committed(pages: 30) == .none)
        #expect(plan.committed(pages: 60) == .none)
    }
}
