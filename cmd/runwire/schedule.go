package main

import (
	"context"
	"fmt"
	"io"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
)

type scheduleCommands struct {
	Create createScheduleCommand `cmd:"" help:"Make a schedule and print its id."`
	Get    getScheduleCommand    `cmd:"" help:"Show a schedule."`
	List   listSchedulesCommand  `cmd:"" help:"List schedules, newest first."`
	Pause  pauseCommand          `cmd:"" help:"Let a schedule submit nothing until it is resumed."`
	Resume resumeCommand         `cmd:"" help:"Let a schedule submit again, from its next tick on."`
	Delete deleteScheduleCommand `cmd:"" help:"Delete a schedule. The tasks it has submitted stay."`
}

type createScheduleCommand struct {
	Work work `embed:""`

	Cron     string `help:"When: minute, hour, day of month, month and day of week such as '30 8 * * MON-FRI', or @hourly, @daily, @weekly, @monthly, @yearly, '@every 10m'." required:"" placeholder:"TICKS"`
	TimeZone string `help:"The ticks' time zone, such as Europe/Berlin; UTC when absent." placeholder:"NAME"`
	ID       string `name:"id" help:"The schedule's id; made when absent."`
	JSON     bool   `name:"json" help:"Print the schedule as a JSON object."`

	Remote remote `embed:""`
}

// Run makes the schedule and prints its id.
func (c *createScheduleCommand) Run(ctx context.Context, term terminal) error {
	task, err := c.Work.request(term.in)
	if err != nil {
		return err
	}
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewScheduleServiceClient(conn).CreateSchedule(ctx, &agentv1.CreateScheduleRequest{
			ScheduleId: c.ID, Cron: c.Cron, TimeZone: c.TimeZone, Task: task,
		})
		if err != nil {
			return err
		}
		if c.JSON {
			return writeLine(term.out, response.GetSchedule())
		}
		_, err = fmt.Fprintln(term.out, oneLine(response.GetSchedule().GetScheduleId()))
		return err
	})
}

// oneSchedule is a command about a schedule.
type oneSchedule struct {
	ID   string `arg:"" name:"id" help:"The schedule's id."`
	JSON bool   `name:"json" help:"Print the schedule as a JSON object."`

	Remote remote `embed:""`
}

// run has the server asked, and shows the schedule that it answers with.
func (c *oneSchedule) run(
	ctx context.Context, term terminal, ask func(agentv1.ScheduleServiceClient) (*agentv1.Schedule, error),
) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		schedule, err := ask(agentv1.NewScheduleServiceClient(conn))
		if err != nil {
			return err
		}
		if c.JSON {
			return writeLine(term.out, schedule)
		}
		return showSchedule(term.out, schedule)
	})
}

type getScheduleCommand struct {
	Schedule oneSchedule `embed:""`
}

// Run shows the schedule.
func (c *getScheduleCommand) Run(ctx context.Context, term terminal) error {
	return c.Schedule.run(ctx, term, func(client agentv1.ScheduleServiceClient) (*agentv1.Schedule, error) {
		response, err := client.GetSchedule(ctx, &agentv1.GetScheduleRequest{ScheduleId: c.Schedule.ID})
		return response.GetSchedule(), err
	})
}

type pauseCommand struct {
	Schedule oneSchedule `embed:""`
}

// Run pauses the schedule and shows it.
func (c *pauseCommand) Run(ctx context.Context, term terminal) error {
	return c.Schedule.run(ctx, term, func(client agentv1.ScheduleServiceClient) (*agentv1.Schedule, error) {
		response, err := client.PauseSchedule(ctx, &agentv1.PauseScheduleRequest{ScheduleId: c.Schedule.ID})
		return response.GetSchedule(), err
	})
}

type resumeCommand struct {
	Schedule oneSchedule `embed:""`
}

// Run ends the schedule's pause and shows it.
func (c *resumeCommand) Run(ctx context.Context, term terminal) error {
	return c.Schedule.run(ctx, term, func(client agentv1.ScheduleServiceClient) (*agentv1.Schedule, error) {
		response, err := client.ResumeSchedule(ctx, &agentv1.ResumeScheduleRequest{ScheduleId: c.Schedule.ID})
		return response.GetSchedule(), err
	})
}

type deleteScheduleCommand struct {
	ID   string `arg:"" name:"id" help:"The schedule's id."`
	JSON bool   `name:"json" help:"Print the response as a JSON object."`

	Remote remote `embed:""`
}

// Run deletes the schedule.
func (c *deleteScheduleCommand) Run(ctx context.Context, term terminal) error {
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		response, err := agentv1.NewScheduleServiceClient(conn).DeleteSchedule(ctx, &agentv1.DeleteScheduleRequest{ScheduleId: c.ID})
		if err != nil {
			return err
		}
		if c.JSON {
			return writeLine(term.out, response)
		}
		_, err = fmt.Fprintf(term.out, "schedule %s is deleted\n", oneLine(c.ID))
		return err
	})
}

type listSchedulesCommand struct {
	User  string `help:"Only this user's." placeholder:"ID"`
	Limit uint32 `help:"How many at most; 0 is all." default:"50"`
	JSON  bool   `name:"json" help:"Print the schedules, a JSON object a line."`

	Remote remote `embed:""`
}

// Run lists the schedules.
func (c *listSchedulesCommand) Run(ctx context.Context, term terminal) error {
	head := []string{"ID", "TICKS", "NEXT", "LAST", "AGENT", "USER", "MESSAGE"}
	rows := newRows(term.out, c.JSON, head, func(s *agentv1.Schedule) []string {
		task := s.GetTask()
		return []string{
			s.GetScheduleId(), describeTicks(s), describeNext(s), age(time.Now(), s.GetLastTime()),
			task.GetAgent(), task.GetUserId(), firstWords(task.GetMessage()),
		}
	})
	return c.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		client := agentv1.NewScheduleServiceClient(conn)
		return rows.pages(c.Limit, func(size int32, token string) ([]*agentv1.Schedule, string, error) {
			response, err := client.ListSchedules(ctx, &agentv1.ListSchedulesRequest{
				UserId: c.User, PageSize: size, PageToken: token,
			})
			return response.GetSchedules(), response.GetNextPageToken(), err
		})
	})
}

// showSchedule writes what is known of a schedule.
func showSchedule(w io.Writer, s *agentv1.Schedule) error {
	task := s.GetTask()
	facts := newTable(w)
	facts.fact("schedule", s.GetScheduleId())
	facts.fact("ticks", describeTicks(s))
	facts.fact("next", describeNext(s))
	facts.fact("last", instant(s.GetLastTime()))
	facts.fact("created", instant(s.GetCreateTime()))
	facts.fact("agent", task.GetAgent())
	facts.fact("user", task.GetUserId())
	facts.fact("session", task.GetSessionId())
	facts.fact("message", task.GetMessage())
	facts.fact("labels", describeLabels(task.GetLabels()))
	return facts.flush()
}

func describeTicks(s *agentv1.Schedule) string {
	if s.GetTimeZone() == "" {
		return s.GetCron()
	}
	return s.GetCron() + " (" + s.GetTimeZone() + ")"
}

func describeNext(s *agentv1.Schedule) string {
	if s.GetPaused() {
		return "paused"
	}
	return instant(s.GetNextTime())
}
